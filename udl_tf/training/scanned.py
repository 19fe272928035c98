"""Several updates in one device call, under JAX."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import jax


def scanned(train_step: Callable, count: int) -> Callable:
    """Returns a train function of Keras that does `count` updates in one device call.

    Keras does several updates per call under TensorFlow only; under JAX it calls the device for
    each of them.

    Args:
        train_step: function (state, batch) -> (logs, state) of one update.
        count: updates per call; the last call does as many as there are batches left.

    Returns:
        Function (state, iterator of batches) -> (logs after the last update, state), which
        overwrites the state that it is given.
    """

    def updates(state: Any, batches: tuple) -> tuple[Any, Any]:
        stacked = jax.tree.map(lambda *parts: jax.numpy.stack(parts), *batches)
        state, logs = jax.lax.scan(lambda *x: train_step(*x)[::-1], state, stacked)
        return jax.tree.map(lambda values: values[-1], logs), state

    compiled: Callable | None = None

    def train(state: Any, iterator: Iterator) -> tuple[Any, Any]:
        batches = tuple(islice(iterator, count))
        if not batches:
            raise StopIteration
        nonlocal compiled
        if compiled is None:  # the state stays on the devices that it is on
            places = jax.tree.map(lambda values: values.sharding, state)
            compiled = jax.jit(updates, donate_argnums=0, out_shardings=(None, places))
        return compiled(state, batches)

    return train
