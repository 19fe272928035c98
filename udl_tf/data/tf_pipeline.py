"""Delivery of training batches by tf.data, which tf.distribute and graphs of updates need."""

import time

import tensorflow as tf

from udl_tf.data.draws import Batch
from udl_tf.data.pipeline import AHEAD, THREADS, Delivery, Draw, Waiting


class TFDataDelivery(Delivery):
    """Delivery as tf.data.Dataset.

    Args:
        draw, batch_size, first_update, waiting: as for Delivery.
        stack: number of consecutive updates whose batches, or shares, are one element, stacked
            along a first axis; 1: an element is one batch, or share.
    """

    _error: Exception | None = None  # of `draw`; TensorFlow raises one of its own instead

    def __init__(
        self, draw: Draw, batch_size: int, first_update: int, waiting: Waiting, stack: int = 1
    ):
        super().__init__(draw, batch_size, first_update, waiting)
        self._stack = stack

    def batches(self, shares: range = range(1), num_shares: int = 1) -> tf.data.Dataset:
        like = self._share(0, shares[0], num_shares)

        def draw(number) -> Batch:
            element, place = divmod(int(number), self._stack)
            call, share = divmod(element, len(shares))
            try:
                return self._share(call * self._stack + place, shares[share], num_shares)
            except Exception as error:
                self._error = error
                raise

        def batch(number):
            dtypes = [part.dtype for part in like]
            drawn = tf.numpy_function(draw, [number], dtypes, stateful=False)
            return tuple(tf.ensure_shape(x, y.shape) for x, y in zip(drawn, like, strict=True))

        counter = tf.data.Dataset.counter()
        batches = counter.map(batch, num_parallel_calls=THREADS, deterministic=True)
        options = tf.data.Options()
        # The pipeline has nothing to tune, and deleting its iterator would wait up to a minute for
        # the autotuning thread.
        options.autotune.enabled = False
        ahead = AHEAD - THREADS
        if self._stack > 1:
            batches, ahead = batches.batch(self._stack, drop_remainder=True), 1
        return timed(batches.prefetch(ahead).with_options(options), self.waiting)

    def __exit__(self, kind, error, traceback) -> None:
        if self._error is not None and isinstance(error, tf.errors.OpError):
            raise self._error from None


def timed(batches: tf.data.Dataset, waiting: Waiting) -> tf.data.Dataset:
    """Returns the same batches; `waiting` gets the time taken to get each one."""

    def note(began):
        waiting.seconds += time.time() - began
        return began

    # zip gets its elements in this order: the time, then the batch. Prefetching, which TensorFlow
    # adds by default, would run ahead of the training loop and hide the waiting.
    began = tf.data.Dataset.counter().map(lambda _: tf.timestamp())
    options = tf.data.Options()
    options.experimental_optimization.inject_prefetch = False
    pairs = tf.data.Dataset.zip(began, batches).with_options(options)
    return pairs.map(lambda t, batch: (tf.numpy_function(note, [t], tf.float64), batch)).map(
        lambda _, batch: batch
    )
