"""Networks as int8 represents them well, and the images that determine their ranges."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import keras
import numpy as np
import tensorflow as tf

from udl_tf.export.parity import Pair, piece
from udl_tf.models.stages import Stage
from udl_tf.saved.card import ModelCard

_RANGE_SIDE = 64  # LR pixels; side of the pieces whose activations determine the ranges of int8


def representative(card: ModelCard, pairs: Sequence[Pair]) -> Iterator[dict[str, np.ndarray]]:
    """Yields the images that determine the ranges of int8.

    Plain black and white are among them, so that the range of the input is 0..255, that of uint8.
    """
    side = card.tile or _RANGE_SIDE
    for lr, _ in pairs:
        yield {"lr": piece(lr, (side, side))[None].astype(np.float32)}
    for plain in (0.0, 255.0):
        yield {"lr": np.full((1, side, side, card.channels), plain, np.float32)}


def quantizable(stage: Stage) -> Stage:
    """Returns a stage that computes the same, but loses less in int8; it shares most weights.

    - The levels of a map include zero. They are the grey levels of the normalized image, if a grey
      level is zero: its shift is rounded, and the next convolution corrects that in its bias. (At
      the border of the image, its zero padding differs by half a grey level.)
    - The normalization is a convolution. TFLite computes sums and products in place, and while it
      determines ranges, it takes the result for their input too: steps of 1.5 grey levels.
    - ELU, which TFLite lacks in int8, becomes int8 operators.
    """
    network = stage.network
    normalize = next((x for x in network.layers if x.name == "normalize"), None)

    def rewritten(layer):
        if layer is normalize:
            return _normalizing_convolution(layer)
        has_elu = getattr(layer, "activation", None) is keras.activations.elu
        is_first = isinstance(layer, keras.layers.Conv2D) and (
            normalize is not None and layer.input is normalize.output
        )
        if not (has_elu or is_first):
            return layer
        copy = type(layer).from_config(layer.get_config())
        copy.build(layer.input.shape)
        copy.set_weights(layer.get_weights())
        if has_elu:
            copy.activation = _elu
        if is_first:
            kernel, bias = copy.get_weights()
            copy.set_weights([kernel, bias + (kernel * _remainder(normalize)).sum((0, 1, 2))])
        return copy

    network = keras.models.clone_model(network, clone_function=rewritten)
    return replace(stage, network=network, parts=())


def _elu(x):
    # x - relu(x) is min(x, 0), but has a range of its own: tf.minimum(x, 0) would be quantized
    # with the range of x.
    return tf.nn.relu(x) + (tf.exp(x - tf.nn.relu(x)) - 1.0)


def _factors_and_offsets(normalize: keras.layers.Rescaling) -> np.ndarray:
    """Returns factor and offset of each channel, (2, channels)."""
    channels = normalize.input.shape[-1]
    values = (np.broadcast_to(v, channels) for v in (normalize.scale, normalize.offset))
    return np.array([*values], np.float64)


def _rounded_offset(normalize: keras.layers.Rescaling) -> np.ndarray:
    """Returns the offset of each channel for which zero is a grey level."""
    factor, offset = _factors_and_offsets(normalize)
    return np.round(offset / factor) * factor


def _remainder(normalize: keras.layers.Rescaling) -> np.ndarray:
    """Returns what the rounded offset lacks, (channels, 1)."""
    return (_factors_and_offsets(normalize)[1] - _rounded_offset(normalize))[:, None]


def _normalizing_convolution(normalize: keras.layers.Rescaling) -> keras.layers.Conv2D:
    factor, _ = _factors_and_offsets(normalize)
    convolution = keras.layers.Conv2D(len(factor), 1, name="normalize", dtype="float32")
    convolution.build(normalize.input.shape)
    convolution.set_weights([np.diag(factor)[None, None], _rounded_offset(normalize)])
    return convolution
