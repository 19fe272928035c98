"""SPAN (Wan et al., CVPRW 2024), attention without parameters, with the uncertainty head."""

import math
from collections.abc import Callable

import keras

from udl_tf.config import LogScaleHead
from udl_tf.models.blocks import DepthToSpace, conv, normalize
from udl_tf.models.branches import BranchedConv2D
from udl_tf.models.heads import (
    LIGHT_RADIUS,
    LOG_SCALE,
    RELEASED_RADIUS,
    added_detail,
    apply_head,
)
from udl_tf.models.stages import Stage

# Mean colour of DIV2K as in the released networks, 0.4488, 0.4371 and 0.4040 of 255 grey levels.
_MEAN = [114.444, 111.4605, 103.02]
_MIDDLE_GREY = 127.5


@keras.saving.register_keras_serializable("udl_tf")
class SPAN(keras.Model):
    """Blocks of three convolutions at LR size, each weighted by an attention that it computes.

    A block with input x and a last convolution o yields (o + x) * (sigmoid(o) - 1/2): the attention
    is the feature itself. A 1x1 convolution merges the features of the head, the first block and
    the last one; one convolution yields all HR pixels.

    Args:
        scale: 2, 3 or 4.
        num_blocks: number of blocks; 6 as released.
        num_filters: number of features; 48 as released, or 52 in another released network for x4.
        shift: part of the normalisation of the input, (lr - shift) / divide; a number, or one per
            channel. None: the mean colour of DIV2K, as released, or middle grey unless there are
            three channels.
        divide: as shift. The input stays in grey levels, because the sigmoid needs features of some
            units.
        uncertainty: whether the network also predicts s = ln theta.
        log_scale_head: "released" or "light"; see udl_tf.models.heads.
        log_scale_activation: activation of the released head: "elu" (released) or "linear" (for
            GRAM).
        branches: whether the 3x3 convolutions but the last train as products, as in the paper; see
            udl_tf.models.branches.
        channels: channels of lr and sr.

    Call arguments:
        lr: float (n, h, w, channels), in 0..255, of any height and width.

    Returns:
        {"sr": (n, scale h, scale w, channels), "log_scale": the same shape}, float32; only
        "sr" if uncertainty=False.

    Source: the authors' released code. The uncertainty head is an addition.
    """

    def __init__(
        self,
        scale: int,
        num_blocks: int = 6,
        num_filters: int = 48,
        shift: float | list[float] | None = None,
        divide: float | list[float] = 1.0,
        uncertainty: bool = True,
        log_scale_head: LogScaleHead = "released",
        log_scale_activation: str = "elu",
        branches: bool = False,
        channels: int = 3,
        **kwargs,
    ):
        if num_blocks < 1:
            raise ValueError(f"num_blocks must be at least 1. Received: {num_blocks}")
        convolution = BranchedConv2D if branches else conv
        lr = keras.Input((None, None, channels), name="lr")
        mean = _MEAN if channels == 3 else _MIDDLE_GREY
        normalized = normalize(mean if shift is None else shift, divide, channels)(lr)
        head = convolution(num_filters, channels, "head")(normalized)
        first = last = inner = head
        for block in range(num_blocks):
            last, inner = _attention_block(last, convolution, num_filters, f"block{block}")
            first = last if block == 0 else first
        last = convolution(num_filters, num_filters, "body_end")(last)
        features = keras.layers.Concatenate(name="concat")([head, last, first, inner])
        features = conv(num_filters, 4 * num_filters, "merge", kernel_size=1)(features)
        x = conv(channels * scale**2, num_filters, "tail", dtype="float32")(features)
        phases = keras.layers.Rescaling(255.0, name="phases", dtype="float32")(x)
        outputs = {"sr": DepthToSpace(scale, name="sr", dtype="float32")(phases)}
        if uncertainty:
            detail = added_detail(phases, lr, scale)
            outputs[LOG_SCALE] = apply_head(
                log_scale_head, features, detail, scale, log_scale_activation
            )
        super().__init__(lr, outputs, **kwargs)
        self.scale = scale
        self.settings = {
            "scale": scale,
            "num_blocks": num_blocks,
            "num_filters": num_filters,
            "shift": shift,
            "divide": divide,
            "uncertainty": uncertainty,
            "log_scale_head": log_scale_head,
            "log_scale_activation": log_scale_activation,
            "branches": branches,
            "channels": channels,
        }

    def build_chain(self, *outputs: str, bordered: bool = False) -> list[Stage]:
        """Builds the chain lr -> features at LR size -> `outputs`; see udl_tf.models.stages."""
        scale, filters, channels = (
            self.settings[key] for key in ("scale", "num_filters", "channels")
        )
        light = LOG_SCALE in outputs and self.settings["log_scale_head"] == "light"
        radius, floats = 1, filters + 2 * len(outputs) * channels * scale**2
        if light:
            radius, floats = radius + LIGHT_RADIUS, floats + 2 * filters
        elif LOG_SCALE in outputs:
            radius = max(radius, math.ceil(RELEASED_RADIUS / scale))
            floats = 4 * max(filters, channels) * scale**2  # at HR size
        features = self.get_layer("merge").output
        trunk = keras.Model(self.input, features, name=f"{self.name}_trunk")
        head = keras.Model(
            [features, self.input] if light else features,
            [self.output[output] for output in outputs],
            name=f"{self.name}_head",
        )
        trunk_radius = 3 * self.settings["num_blocks"] + 2
        return [
            Stage(trunk, 1, trunk_radius, floats=max(8 * filters, 4 * channels)),
            Stage(head, scale, radius, floats),
        ]

    def get_config(self):
        return {"name": self.name, **self.settings}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def _attention_block(x, convolution: Callable, filters: int, name: str):
    """Returns (output of the block, its first convolution after the activation)."""
    # The released code says that it returns the first convolution as it is; but its activation
    # works in place, so that the networks were trained with the activated one.
    inner = convolution(filters, filters, f"{name}_conv0", activation="silu")(x)
    out = convolution(filters, filters, f"{name}_conv1", activation="silu")(inner)
    out = convolution(filters, filters, f"{name}_conv2")(out)
    attention = keras.layers.Activation("sigmoid", name=f"{name}_sigmoid")(out)
    attention = keras.layers.Rescaling(1.0, -0.5, name=f"{name}_attention")(attention)
    out = keras.layers.Add(name=f"{name}_add")([out, x])
    return keras.layers.Multiply(name=f"{name}_multiply")([out, attention]), inner
