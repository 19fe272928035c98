"""Delivery of training batches to `fit`, drawn ahead of the updates, on every Keras backend."""

import itertools
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import keras

from udl_tf.config import DataConfig
from udl_tf.data.draws import Batch, CropDraws, HRMap, cut_batch, cut_lr, draw_degradations
from udl_tf.data.resident import ResidentSet
from udl_tf.data.store import ImageStore

THREADS = 2
AHEAD = 4  # batches drawn or being drawn, including the next that an update takes

Draw = Callable[[int, range], Batch]
"""(number of an update, rows of its batch) -> those rows, as arrays of constant shapes."""


@dataclass
class Waiting:
    """Time that training has waited for its batches.

    Attributes:
        seconds: total so far.
    """

    seconds: float = 0.0


class Delivery(AbstractContextManager):
    """Delivers the batches of a run to `fit`; use it as a context in which `fit` runs.

    An error of `draw`, such as UserError, leaves the context unchanged.

    Args:
        draw: computes batches; several threads call it.
        batch_size: global batch size (patches per update).
        first_update: number of the update that the first batch is for.
        waiting: receives the time that training spends waiting for batches.
    """

    def __init__(self, draw: Draw, batch_size: int, first_update: int, waiting: Waiting):
        self.draw = draw
        self.batch_size = batch_size
        self.first_update = first_update
        self.waiting = waiting

    @abstractmethod
    def batches(self, shares: range = range(1), num_shares: int = 1) -> Iterable[Any]:
        """Returns endless batches for `fit`, in the order of the updates.

        Args:
            shares: shares of each batch to produce, one after another: those of the replicas of
                this process.
            num_shares: number of equal shares that each batch is divided into.
        """

    def _share(self, update: int, share: int, num_shares: int) -> Batch:
        """Draws a share of the batch of an update, counted from the first one delivered."""
        rows = self.batch_size // num_shares
        return self.draw(self.first_update + update, range(share * rows, (share + 1) * rows))


class ThreadDelivery(Delivery):
    """Delivery of NumPy arrays, drawn by threads that end with the context."""

    def __enter__(self):
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="batches")
        return self

    def __exit__(self, *error) -> None:
        self._pool.shutdown(cancel_futures=True)

    def batches(self, shares: range = range(1), num_shares: int = 1) -> Iterator[Batch]:
        drawn = deque()
        for number in itertools.count():
            update, share = divmod(number, len(shares))
            drawn.append(self._pool.submit(self._share, update, shares[share], num_shares))
            if len(drawn) == AHEAD:
                began = time.perf_counter()
                batch = drawn.popleft().result()
                self.waiting.seconds += time.perf_counter() - began
                yield batch


def make_delivery(
    store: ImageStore,
    config: DataConfig,
    seed: int,
    first_update: int,
    hr_map: HRMap | None = None,
    waiting: Waiting | None = None,
    resident: ResidentSet | None = None,
    updates_per_call: int = 1,
) -> Delivery:
    """Returns the delivery of a run's batches: a tf.data.Dataset under TensorFlow, else threads.

    Args:
        store: training images.
        config: data section of the run's config.
        seed: seed of the run.
        first_update: number of the update that the first batch is for.
        hr_map: as for cut_batch, which also describes a batch.
        waiting: receives the time that training spends waiting for batches.
        resident: training set on the device, for which batches contain places instead of patches;
            degraded LR patches still travel.
        updates_per_call: updates per device call of the trainer. If it is more than 1, TensorFlow
            gets the batches of a call stacked along a first axis.
    """

    crops_of = CropDraws(store, config, seed)

    def draw(update: int, rows: range) -> Batch:
        crops, degrade = crops_of(update, rows), draw_degradations(config, seed, update, rows)
        if resident is None:
            return cut_batch(store, config, crops, hr_map, degrade)
        if degrade is None:
            return resident.places(crops)
        return resident.places(crops, cut_lr(store, config, crops, degrade))

    common = draw, config.batch_size, first_update, waiting or Waiting()
    if keras.backend.backend() != "tensorflow":
        return ThreadDelivery(*common)
    from udl_tf.data.tf_pipeline import TFDataDelivery

    return TFDataDelivery(*common, updates_per_call)
