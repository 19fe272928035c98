"""Detection of dead networks, whose result ignores the image or whose ReLUs output zero."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import keras
import numpy as np

from udl_tf.models import mean_part


def is_dead(network: keras.Model, predict: Callable, lr: np.ndarray) -> bool:
    """Returns whether the input of a network, or its ReLUs, no longer influence its result.

    A network is dead if its result differs by less than half a grey level everywhere for an image
    in which dark and bright values are exchanged, or if its result is exactly the one with all
    ReLUs set to zero. One active unit at one pixel suffices to change the latter, so that a network
    that learns is never called dead, however bad it still is.

    Args:
        network: lr -> {"sr", ...}.
        predict: `network` as a function of arrays, which uses its current weights.
        lr: float32 or uint8 (n, h, w, c) in 0..255.
    """
    result = predict(lr)["sr"]
    other = np.where(lr < 128, lr + 127, lr - 127)  # of the dtype of lr, and nowhere equal to it
    if np.abs(result - predict(other)["sr"]).max() < 0.5:
        return True
    # Without the s head, which has no influence on the image anyway.
    layers = [
        x
        for x in _layers(mean_part(network))
        if getattr(x, "activation", None) is keras.activations.relu
    ]
    with restored([weight for layer in layers for weight in layer.weights]) as weights:
        for weight in weights:
            weight.assign(np.zeros(weight.shape))
        return bool(layers) and np.array_equal(result, predict(lr)["sr"])


@contextmanager
def restored(variables: list[keras.Variable]) -> Iterator[list[keras.Variable]]:
    """Restores the exact values of variables at the end of the block."""
    values = [keras.ops.convert_to_numpy(variable) for variable in variables]
    try:
        yield variables
    finally:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def _layers(network: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in network.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _layers(layer)
