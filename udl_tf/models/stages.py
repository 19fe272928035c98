"""A network as a chain of stages, each with a small receptive field, which makes exact tiling cheap.

An image can be computed stage by stage, each stage in tiles that overlap by its own radius; only
the maps between the stages are kept whole. For a deep chain, such as DPDNN's unrolled steps, this
is many times cheaper than tiles that overlap by the radius of all stages together.

Every backbone has a method `build_chain(*outputs, bordered=False)`, which builds the chain to
`outputs`, "sr" or "log_scale" or both, three channels each in this order. `bordered` says that the
outermost pixels (udl_tf.inference.upscaler.BORDER) of the result will be cut off. They need not be
exact then, and the chain may be faster and hold a copy of the current weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import keras


@dataclass(frozen=True)
class Stage:
    """One link of a chain. The first stage reads the LR image, each other one the map before it.

    Attributes:
        network: the map before -> the next map; or [the map before, LR image] -> the next map.
        scale: height and width of the next map over those of the LR image.
        radius: LR pixels on each side that an output pixel may depend on.
        floats: most floats alive at a time while the stage runs, for each LR pixel.
        align: the result of a part of the picture equals that of the whole only if the part starts
            at a multiple of so many LR pixels.
    """

    network: keras.Model
    scale: int
    radius: int
    floats: int
    align: int = 1

    @property
    def channels(self) -> int:
        """Channels of the next map."""
        return self.network.outputs[0].shape[-1]


def side_by_side(maps: Sequence[keras.KerasTensor]) -> keras.KerasTensor:
    """The maps' channels in one map."""
    if len(maps) == 1:
        return maps[0]
    return keras.layers.Concatenate(dtype="float32")(maps)


def run_chain(stages: Sequence[Stage], lr):
    """The chain's last map of an LR batch, everything at once: what an exported graph computes."""
    x = lr
    for stage in stages:
        x = stage.network([x, lr] if len(stage.network.inputs) == 2 else x, training=False)
    return x


def chain_radius(stages: Sequence[Stage]) -> int:
    """LR pixels on each side that a pixel of the chain's last map may depend on."""
    return sum(stage.radius for stage in stages)


def chain_align(stages: Sequence[Stage]) -> int:
    """Multiple of LR pixels at which a part must start: the largest, which the others divide."""
    return max(stage.align for stage in stages)
