"""Networks as int8 represents them well, and the images that determine their ranges."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import keras
import numpy as np
import tensorflow as tf

from udl_tf.errors import UserError
from udl_tf.export.parity import Pair, piece
from udl_tf.inference.keras_upscaler import KerasUpscaler
from udl_tf.models.stages import Stage
from udl_tf.saved.card import ModelCard

_RANGE_SIDE = 64  # LR pixels; side of the pieces whose activations determine the ranges of int8


def check_int8(model: KerasUpscaler) -> None:
    """Requires a model of 8-bit images.

    Raises:
        UserError: for a model with a value range.
    """
    if model.measures:
        raise UserError(
            "int8 has too few values for a model with the value range"
            f" {model.value_range.ranges}: choose float16 or float32",
            argument="precision",
        )


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
    """Returns a stage that computes the same, but loses less in int8.

    - The levels of a map include zero. Those of the normalized image are the grey levels, if zero
      is one of them: the shift is rounded, and the bias of the next convolution corrects that. (At
      the border of the image, its zero padding differs by half a grey level.)
    - The normalization is a convolution. TFLite computes sums and products in place, and while it
      determines ranges, it takes the result for their input too: steps of 1.5 grey levels.
    - A factor and an offset after a convolution are part of its weights, so that the levels of the
      result of the last one are grey levels, too.
    - ELU, which TFLite lacks in int8, becomes int8 operators.
    """
    network = stage.network
    normalize = next((x for x in network.layers if x.name == "normalize"), None)
    rescalings = {id(x.input): x for x in network.layers if _rescales_convolution(x)}

    def rewritten(layer):
        if layer is normalize:
            return _normalizing_convolution(layer)
        if layer in rescalings.values():
            return keras.layers.Identity(name=layer.name)
        if not isinstance(layer, keras.layers.Conv2D):
            return layer
        return _rewritten(layer, normalize, rescalings.get(id(layer.output)))

    network = keras.models.clone_model(network, clone_function=rewritten)
    return replace(stage, network=network, parts=())


def _rescales_convolution(layer: keras.layers.Layer) -> bool:
    if not isinstance(layer, keras.layers.Rescaling):
        return False
    before = layer.input._keras_history.operation
    is_linear = getattr(before, "activation", None) is keras.activations.linear
    return is_linear and isinstance(before, keras.layers.Conv2D)


def _rewritten(
    convolution: keras.layers.Conv2D,
    normalize: keras.layers.Rescaling | None,
    rescaling: keras.layers.Rescaling | None,
) -> keras.layers.Conv2D:
    """Returns a copy of a convolution.

    Args:
        convolution: to copy.
        normalize: normalization of the image; if the convolution reads it, it is corrected.
        rescaling: layer after the convolution that becomes part of it; None: none.
    """
    copy = type(convolution).from_config(convolution.get_config())
    copy.build(convolution.input.shape)
    kernel, *bias = convolution.get_weights()
    if normalize is not None and convolution.input is normalize.output:
        offset = _offset(normalize)[:, None] - _rounded_offset(normalize)[:, None]
        bias = [values + (kernel * offset).sum((0, 1, 2)) for values in bias]
    if rescaling is not None:
        kernel = kernel * _factor(rescaling)
        bias = [values * _factor(rescaling) + _offset(rescaling) for values in bias]
    copy.set_weights([kernel, *bias])
    if copy.activation is keras.activations.elu:
        copy.activation = _elu
    return copy


def _normalizing_convolution(normalize: keras.layers.Rescaling) -> keras.layers.Conv2D:
    factor = _factor(normalize)
    convolution = keras.layers.Conv2D(len(factor), 1, name="normalize", dtype="float32")
    convolution.build(normalize.input.shape)
    convolution.set_weights([np.diag(factor)[None, None], _rounded_offset(normalize)])
    return convolution


def _factor(rescaling: keras.layers.Rescaling) -> np.ndarray:
    return np.broadcast_to(rescaling.scale, rescaling.output.shape[-1]).astype(np.float64)


def _offset(rescaling: keras.layers.Rescaling) -> np.ndarray:
    return np.broadcast_to(rescaling.offset, rescaling.output.shape[-1]).astype(np.float64)


def _rounded_offset(normalize: keras.layers.Rescaling) -> np.ndarray:
    """Returns the offset of each channel for which zero is a grey level."""
    factor = _factor(normalize)
    return np.round(_offset(normalize) / factor) * factor


def _elu(x):
    # x - relu(x) is min(x, 0), but has a range of its own: tf.minimum(x, 0) would be quantized
    # with the range of x.
    return tf.nn.relu(x) + (tf.exp(x - tf.nn.relu(x)) - 1.0)
