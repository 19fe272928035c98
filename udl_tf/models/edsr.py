"""EDSR and its small form EDSR-S (Lim et al., CVPRW 2017), with the uncertainty head."""

import math
from collections.abc import Callable
from typing import Literal

import keras
import numpy as np

from udl_tf.config import LogScaleHead
from udl_tf.models.blocks import DepthToSpace, SpaceToDepth, conv, nearest_phases, normalize
from udl_tf.models.branches import BranchedConv2D
from udl_tf.models.folding import as_convolution
from udl_tf.models.heads import (
    LIGHT_RADIUS,
    LOG_SCALE,
    RELEASED_RADIUS,
    added_detail,
    apply_head,
)
from udl_tf.models.stages import Stage

# LR pixels on each side: one at LR size, less than one for the others
_DIRECT_RADIUS, _STEPWISE_RADIUS = 1, 2

_PART_BLOCKS = 2  # of the trunk, between two reports of progress


@keras.saving.register_keras_serializable("udl_tf")
class EDSR(keras.Model):
    """Residual blocks without normalisation at LR size, followed by sub-pixel upsampling.

    Args:
        scale: 2, 3 or 4.
        num_blocks: number of residual blocks; 16 in EDSR-S, 32 in EDSR.
        num_filters: number of features; 64 in EDSR-S, 256 in EDSR.
        res_scale: factor of each residual branch.
        uncertainty: whether the network also predicts s = ln theta.
        log_scale_head: "released" or "light"; see udl_tf.models.heads.
        log_scale_activation: activation of the released head: "elu" (released) or "linear" (for
            GRAM).
        shift: part of the normalisation of the input, (lr - shift) / divide, undone at the output;
            a number, or one per channel. 0 as released.
        divide: as shift; 1 as released. With 127.5 for both, training from scratch is faster.
        upsampler: "stepwise": convolutions that upsample the features by 2 or 3, then the last
            convolution at HR size, as released; "direct": one convolution at LR size that yields
            all HR pixels, several times cheaper.
        anchor: whether the network adds its output to the LR image, upscaled by nearest neighbours,
            instead of yielding the whole image.
        branches: whether the convolutions train as products; see udl_tf.models.branches.
        channels: channels of lr and sr.

    Call arguments:
        lr: float (n, h, w, channels), in 0..255, of any height and width.

    Returns:
        {"sr": (n, scale h, scale w, channels), "log_scale": the same shape}, float32; only
        "sr" if uncertainty=False.

    Examples:
        >>> network = EDSR(scale=4)
        >>> network(lr)["sr"]

    Source: the UDL authors' released code; EDSR-PyTorch.
    """

    def __init__(
        self,
        scale: int,
        num_blocks: int = 16,
        num_filters: int = 64,
        res_scale: float = 0.1,
        uncertainty: bool = True,
        log_scale_head: LogScaleHead = "released",
        log_scale_activation: str = "elu",
        shift: float | list[float] = 0.0,
        divide: float | list[float] = 1.0,
        upsampler: Literal["stepwise", "direct"] = "stepwise",
        anchor: bool = False,
        branches: bool = False,
        channels: int = 3,
        **kwargs,
    ):
        if num_blocks < 0 or not math.isfinite(res_scale):
            raise ValueError(
                "num_blocks must be at least 0 and res_scale must be finite."
                f" Received: num_blocks={num_blocks}, res_scale={res_scale}"
            )
        convolution = BranchedConv2D if branches else conv
        lr = keras.Input((None, None, channels), name="lr")
        head = convolution(num_filters, channels, "head")(normalize(shift, divide, channels)(lr))
        features = head
        for block in range(num_blocks):
            name = f"block{block}"
            features = _residual_block(features, convolution, num_filters, res_scale, name)
        features = convolution(num_filters, num_filters, "body_end")(features)
        features = keras.layers.Add(name="long_skip")([features, head])
        upsample = _upsample_directly if upsampler == "direct" else _upsample_stepwise
        x = upsample(features, convolution, scale, num_filters, channels)
        sr, detail = _finish(x, upsampler == "direct", lr, scale, shift, divide, anchor)
        outputs = {"sr": sr}
        if uncertainty:  # last, as in the released networks
            outputs[LOG_SCALE] = apply_head(
                log_scale_head, features, detail, scale, log_scale_activation
            )
        super().__init__(lr, outputs, **kwargs)
        self.scale = scale
        self.settings = {
            "scale": scale,
            "num_blocks": num_blocks,
            "num_filters": num_filters,
            "res_scale": res_scale,
            "uncertainty": uncertainty,
            "log_scale_head": log_scale_head,
            "log_scale_activation": log_scale_activation,
            "shift": shift,
            "divide": divide,
            "upsampler": upsampler,
            "anchor": anchor,
            "branches": branches,
            "channels": channels,
        }

    def build_chain(self, *outputs: str, bordered: bool = False) -> list[Stage]:
        """Builds the chain lr -> features at LR size -> `outputs`; see udl_tf.models.stages.

        With `bordered`, a stepwise upsampler and the tail are folded into one convolution of the
        current weights; a direct one is a convolution already.
        """
        scale, filters, channels = (
            self.settings[key] for key in ("scale", "num_filters", "channels")
        )
        direct, anchored = self.settings["upsampler"] == "direct", self.settings["anchor"]
        light = LOG_SCALE in outputs and self.settings["log_scale_head"] == "light"
        released = LOG_SCALE in outputs and not light
        upsamples = "sr" in outputs or light
        features = self.get_layer("long_skip").output
        trunk = keras.Model(self.input, features, name=f"{self.name}_trunk")
        folds = bordered and upsamples and not direct
        maps = self._folded(features, light) if folds else self.output
        radius = (_DIRECT_RADIUS if direct else _STEPWISE_RADIUS) if upsamples else 0
        if light:
            radius += LIGHT_RADIUS
        elif released:
            radius = max(radius, math.ceil(RELEASED_RADIUS / scale))
        if released or not (bordered or direct):  # at HR size
            floats = 4 * max(filters, channels) * scale**2
        else:
            maps_in_phases = 2 * (len(outputs) + anchored) * channels * scale**2
            floats = (3 if light else 1) * filters + maps_in_phases
        head = keras.Model(
            [features, self.input] if light or (anchored and upsamples) else features,
            [maps[output] for output in outputs],
            name=f"{self.name}_head",
        )
        return [
            Stage(
                trunk,
                1,
                radius=2 * self.settings["num_blocks"] + 2,
                floats=max(6 * filters, 4 * channels),
                parts=self._trunk_parts(),
            ),
            Stage(head, scale, radius, floats),
        ]

    def _trunk_parts(self) -> tuple[keras.Model, ...]:
        """Returns the trunk in parts of _PART_BLOCKS blocks; the last computes the head again."""
        blocks = range(_PART_BLOCKS - 1, self.settings["num_blocks"] - 1, _PART_BLOCKS)
        maps = [self.get_layer(f"block{block}_add").output for block in blocks]
        outputs = [*maps, self.get_layer("long_skip").output]
        if not maps:
            return ()
        # Only the long skip needs the LR image, to which the last part applies the head again.
        inputs = [self.input, *maps[:-1], [maps[-1], self.input]]
        return tuple(keras.Model(*pair) for pair in zip(inputs, outputs, strict=True))

    def _folded(self, features: keras.KerasTensor, light: bool) -> dict[str, keras.KerasTensor]:
        """Returns the outputs with upsampler and tail as one convolution of the features."""
        tail = self.get_layer("tail").output
        upsampler = keras.Model(features, tail, name=f"{self.name}_upsampler")
        x = as_convolution(upsampler, _STEPWISE_RADIUS)(features)
        # Outside the convolution, so that no digits are lost by adding to a large shift.
        options = (self.settings[key] for key in ("scale", "shift", "divide", "anchor"))
        sr, detail = _finish(x, True, self.input, *options)
        maps = {**self.output, "sr": sr}
        if light:
            maps[LOG_SCALE] = self.get_layer(LOG_SCALE)([features, detail])
        return maps

    def get_config(self):
        return {"name": self.name, **self.settings}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def _finish(x, in_phases: bool, lr, scale: int, shift, divide, anchor: bool):
    """Undoes the normalisation of the output x; adds the LR image to it if it is the anchor.

    Args:
        x: (n, scale h, scale w, c), or in phases (n, h, w, c scale^2).
        in_phases: which of both.
        lr, scale, shift, divide, anchor: as for EDSR.

    Returns:
        sr, and the detail in it as for light_head.
    """
    if not (in_phases or anchor):
        # As released: weight files have the order of the layers, by their distance from the end.
        sr = keras.layers.Rescaling(divide, shift, name="sr", dtype="float32")(x)
        phases = SpaceToDepth(scale, name="phases", dtype="float32")(sr)
        return sr, added_detail(phases, lr, scale)
    if not in_phases:
        x = SpaceToDepth(scale, name="to_phases", dtype="float32")(x)
    channels = lr.shape[-1]
    factor, offset = (
        np.tile(np.broadcast_to(v, channels), scale**2).tolist() for v in (divide, shift)
    )
    if anchor:  # It contains the shift. Zeros in x leave the LR image as it is, without rounding.
        detail = keras.layers.Rescaling(factor, name="detail", dtype="float32")(x)
        # TFLite computes the sum in place of the image, whose levels in int8 are known.
        phases = nearest_phases(lr, scale) + detail
    else:
        phases = keras.layers.Rescaling(factor, offset, name="phases", dtype="float32")(x)
        detail = added_detail(phases, lr, scale)
    return DepthToSpace(scale, name="sr", dtype="float32")(phases), detail


def _residual_block(x, convolution: Callable, filters: int, res_scale: float, name: str):
    residual = convolution(filters, filters, f"{name}_conv0", activation="relu")(x)
    residual = convolution(filters, filters, f"{name}_conv1")(residual)
    residual = keras.layers.Rescaling(res_scale, name=f"{name}_scale")(residual)
    return keras.layers.Add(name=f"{name}_add")([x, residual])


def _upsample_stepwise(x, convolution: Callable, scale: int, filters: int, channels: int):
    for index, factor in enumerate({2: [2], 3: [3], 4: [2, 2]}[scale]):
        x = convolution(filters * factor**2, filters, f"upsample{index}")(x)
        x = DepthToSpace(factor, name=f"shuffle{index}")(x)
    return convolution(channels, filters, "tail", dtype="float32")(x)


def _upsample_directly(x, convolution: Callable, scale: int, filters: int, channels: int):
    return convolution(channels * scale**2, filters, "tail", dtype="float32")(x)
