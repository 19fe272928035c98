"""The light head of a network as exported graphs compute it: theta, in few operators."""

import math
from collections.abc import Sequence
from dataclasses import replace

import keras
import numpy as np
from keras import ops

from udl_tf.models.blocks import DepthToSpace, conv
from udl_tf.models.heads import LARGEST_THETA, LOG_SCALE, SMALLEST_THETA
from udl_tf.models.stages import Stage

Line = tuple[np.ndarray, np.ndarray]
"""(a, b) of ln theta = a + b s, each (c,) or (1,)."""


def with_theta(
    names: tuple[str, ...], chain: Sequence[Stage], line: Line
) -> tuple[tuple[str, ...], Sequence[Stage]]:
    """Returns a chain whose light head computes theta instead of s; others as they are.

    Args:
        names: of the chain's last maps.
        chain: of a network, which shares its weights with the result, except the last of the head.
        line: of the calibration.

    Returns:
        (names, with "theta" in place of "log_scale" if the head is light; the chain).
    """
    *before, last = chain
    if not any(_is_light_head(layer) for layer in last.network.layers):
        return names, chain
    network = keras.models.clone_model(
        last.network,
        clone_function=lambda layer: _theta_head(layer, line) if _is_light_head(layer) else layer,
    )
    names = tuple("theta" if name == LOG_SCALE else name for name in names)
    return names, [*before, replace(last, network=network, parts=())]


def _is_light_head(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, keras.Model) and layer.name == LOG_SCALE


def _theta_head(head: keras.Model, line: Line) -> keras.Model:
    """Returns a light head [features, detail] -> theta, float32 (n, scale h, scale w, c).

    The calibration is part of the last convolution, and ReLU6, which runtimes compute within it,
    limits ln theta; the head's own limits, those of theta and the calibration would be six
    operators on maps of the size of the image.
    """
    last, to_pixels = head.get_layer("last"), head.layers[-1]
    assert isinstance(to_pixels, DepthToSpace)
    # For each output channel, ordered (row, column, c).
    a, b = (np.resize(values.astype(np.float64), last.filters) for values in line)
    low = a + b * math.log(SMALLEST_THETA)
    high = np.minimum(a + b * math.log(LARGEST_THETA), math.log(LARGEST_THETA))
    step = (high - low) / 6
    kernel, bias = last.get_weights()
    limited = conv(
        last.filters, kernel.shape[2], "last_log_theta", activation="relu6", dtype="float32"
    )
    steps = limited(last.input)
    limited.set_weights([kernel * b / step, (a + b * bias - low) / step])
    theta = ops.exp(steps * step.astype(np.float32) + low.astype(np.float32))
    theta = DepthToSpace(to_pixels.scale, dtype="float32")(theta)
    return keras.Model(head.inputs, theta, name=head.name)  # by which ONNX int8 recognises it
