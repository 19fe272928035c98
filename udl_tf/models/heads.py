"""Heads that predict s = ln theta, and the parts of a network that has one.

The released head works at HR size; an ESU step trains it together with its network. The light head
works at LR size, on the features of a trained network and on the image that this network computes;
a step of its own trains it and leaves the network as it is.
"""

import math
from collections.abc import Mapping
from typing import Any, get_args

import keras
from keras import ops

from udl_tf.config import LogScaleHead
from udl_tf.errors import UserError, nearest
from udl_tf.models.blocks import DepthToSpace, conv, nearest_phases, nearest_up_conv

LOG_SCALE = "log_scale"
RELEASED_RADIUS = 3  # HR pixels on each side that the released head's convolutions depend on
LIGHT_RADIUS = 5  # LR pixels on each side that the light head's convolutions depend on

LARGEST_THETA = 255.0  # grey levels; no error can exceed the width of the value range
SMALLEST_THETA = 0.05  # of the light head, grey levels

_LOWEST_ELU = -1.0  # s of the released head with its activation

_FEWEST_FILTERS, _MOST_FILTERS = 16, 32  # of the light head
_HIDDEN = 4  # 3x3 convolutions of the light head before the last
_DETAIL_UNIT = 16.0  # grey levels; the usual size of `sr - lr` at edges


def apply_head(
    kind: LogScaleHead, features, detail, scale: int, activation: str, enlarged: int = 1
):
    """Applies an s head.

    Args:
        kind: "released" or "light".
        features: (n, enlarged h, enlarged w, filters).
        detail: what the network added to the LR image, as `added_detail` returns it.
        scale: HR over LR size.
        activation: activation of the released head; see released_head.
        enlarged: size of the features over LR size; 1 or `scale`.

    Returns:
        s, float32 (n, scale h, scale w, c).
    """
    if kind not in (known := get_args(LogScaleHead)):
        raise UserError(f"uncertainty head {kind!r} is unknown, {nearest(kind, known)}")
    filters, channels = features.shape[-1], detail.shape[-1] // scale**2
    if kind == "light":
        return light_head(filters, scale, enlarged, channels)([features, detail])
    return released_head(features, filters, activation, scale // enlarged, channels)


def released_head(
    features, filters: int, activation: str = "elu", scale: int = 1, channels: int = 3
):
    """Applies three convolutions that predict s per pixel and channel.

    Args:
        features: (n, h, w, filters).
        filters: channels of the features and of the head.
        activation: activation of the last convolution: "elu" as released, so s > -1, or "linear"
            for GRAM.
        scale: HR size over the size of the features, which are upsampled by nearest neighbours.
        channels: of s.

    Returns:
        s, float32 (n, scale h, scale w, channels).

    Source: the authors' released EDSR (var_conv).
    """
    names = "log_scale_conv0", "log_scale_conv1"
    if scale == 1:
        first = conv(filters, filters, names[0], activation="elu")
    else:
        first = nearest_up_conv(filters, filters, scale, names[0], activation="elu")
    features = conv(filters, filters, names[1], activation="elu")(first(features))
    head = conv(channels, filters, "log_scale_conv2", activation=activation, dtype="float32")
    return keras.layers.Identity(name=LOG_SCALE, dtype="float32")(head(features))


def light_head(filters: int, scale: int, features_scale: int = 1, channels: int = 3) -> keras.Model:
    """Builds a network [features, detail] -> s.

    In addition to the features, it gets the detail that the network added to the LR image, which it
    would otherwise have to reconstruct. tanh compresses the detail, so that a few
    large values dominate neither training nor the range of int8. A 1x1 convolution reduces both to
    few channels; several 3x3 convolutions follow, because a larger receptive field helps more than
    more channels.

    Args:
        filters: channels of the features. The head has half as many, at least 16 and at
            most 32.
        scale: HR over LR size.
        features_scale: size of the features over LR size; 1 or `scale`.
        channels: of s.

    Returns:
        Network from features (n, features_scale h, features_scale w, filters) and detail (n, h, w,
        channels scale^2), as `added_detail` returns it, to s, float32 (n, scale h, scale w,
        channels); theta = exp(s) is within 0.05..255 grey levels.
    """
    features = keras.Input((None, None, filters), name="features")
    width = min(max(filters // 2, _FEWEST_FILTERS), _MOST_FILTERS)
    phases = channels * scale**2
    detail = keras.Input((None, None, phases), name="detail")
    x = features
    if features_scale > 1:
        embed = {"kernel_size": features_scale, "strides": features_scale, "padding": "valid"}
        x = conv(width, filters, "embed", activation="relu", **embed)(x)
    # One convolution of the concatenated maps, written as the sum of two: in int8, concatenated
    # maps share one range, too wide for the features, from which sr is computed too.
    inputs, compressed = x.shape[-1] + phases, ops.tanh(detail / _DETAIL_UNIT)
    x = conv(width, inputs, "reduce", kernel_size=1)(x)
    x += conv(width, inputs, "reduce_detail", kernel_size=1, use_bias=False)(compressed)
    x = keras.layers.ReLU()(x)
    for index in range(_HIDDEN):
        x = conv(width, width, f"conv{index}", activation="relu")(x)
    x = conv(phases, width, "last", dtype="float32")(x)
    x = ops.clip(x, math.log(SMALLEST_THETA), math.log(LARGEST_THETA))
    s = DepthToSpace(scale, dtype="float32")(x)
    return keras.Model([features, detail], s, name=LOG_SCALE)


def added_detail(phases, lr, scale: int):
    """Returns what a network adds to the LR image, enlarged by nearest neighbours, in grey levels.

    Args:
        phases: (n, h, w, c scale^2), of which DepthToSpace makes sr.
        lr: (n, h, w, c).
        scale: HR over LR size.

    Returns:
        (n, h, w, c scale^2).
    """
    return phases - nearest_phases(lr, scale)


def check_head(loss: Any, settings: Mapping[str, Any]) -> None:
    """Requires a head whose bounds allow theta below 1 grey level in the unit of the loss.

    Args:
        loss: any loss; only one that trains s is checked.
        settings: "log_scale_head" and "log_scale_activation" of the network; if absent, nothing is
            checked.

    Raises:
        UserError: naming the smallest theta.
    """
    if not getattr(loss, "needs_log_scale", False):
        return
    if settings.get("log_scale_head") == "light":
        lowest = math.log(SMALLEST_THETA)
    elif settings.get("log_scale_activation") == "elu":
        lowest = _LOWEST_ELU
    else:
        return
    smallest = getattr(loss, "unit", 1.0) * math.exp(lowest / getattr(loss, "power", 1.0))
    if smallest > 1:
        raise UserError(
            f"{type(loss).__name__} with this uncertainty head yields no theta below {smallest:.3g}"
            ' grey levels: set log_scale_head to "released" and log_scale_activation to "linear",'
            " or the unit of the loss to 1"
        )


def mean_part(network: keras.Model) -> keras.Model:
    """Returns the sub-model lr -> {"sr"}, which shares the weights and computes no uncertainty."""
    return keras.Model(network.input, {"sr": network.output["sr"]}, name=f"{network.name}_mean")


def uncertainty_part(network: keras.Model) -> keras.Model:
    """Returns the sub-model lr -> {"log_scale"}, which shares the weights.

    It also computes sr if the head is light, because that head takes sr as input.

    Raises:
        ValueError: if the network was built with uncertainty=False.
    """
    if LOG_SCALE not in network.output:
        raise ValueError(f"{network.name} was built with uncertainty=False: it has no log_scale")
    output = {LOG_SCALE: network.output[LOG_SCALE]}
    return keras.Model(network.input, output, name=f"{network.name}_uncertainty")


def freeze_all_but_head(network: keras.Model) -> None:
    """Freezes all layers except the s head."""
    for layer in network.layers:
        layer.trainable = layer.name.startswith(LOG_SCALE)
