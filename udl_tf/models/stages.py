"""Networks as chains of stages, each with a small receptive field, for cheap exact tiling.

An image is computed stage by stage, and each stage in tiles that overlap by its own radius; only
the maps between stages exist as a whole. For a deep network, such as DPDNN's unrolled steps, this
is many times cheaper than tiles that overlap by the radius of the whole network.

Every backbone has a method `build_chain(*outputs, bordered=False)`. Its last map contains
`outputs`, "sr" or "log_scale" or both, three channels each in the given order. With `bordered`, the
caller crops the outermost pixels of the result (udl_tf.inference.upscaler.BORDER): they need not be
exact, so the chain may be faster, and it may contain a copy of the current weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import keras


@dataclass(frozen=True)
class Stage:
    """One stage of a chain. Its input is the previous stage's map, or first the LR image.

    Attributes:
        network: input map -> output map, or [input map, LR image] -> output map.
        scale: size of the output map over the size of the LR image.
        radius: LR pixels on each side that an output pixel may depend on.
        floats: largest number of floats in memory while the stage runs, per LR pixel.
        align: a part of the image must start at a multiple of this many LR pixels, so that its
            result equals that of the whole image.
    """

    network: keras.Model
    scale: int
    radius: int
    floats: int
    align: int = 1

    @property
    def channels(self) -> int:
        """Number of channels of the output map."""
        return self.network.outputs[0].shape[-1]


def side_by_side(maps: Sequence[keras.KerasTensor]) -> keras.KerasTensor:
    """Concatenates maps along the channels."""
    if len(maps) == 1:
        return maps[0]
    return keras.layers.Concatenate(dtype="float32")(maps)


def separate_maps(network: keras.Model) -> keras.Model:
    """Returns a network whose outputs are the maps that `side_by_side` has concatenated."""
    last = network.layers[-1]
    if not isinstance(last, keras.layers.Concatenate):
        return network
    return keras.Model(network.input, last.input, name=network.name)


def run_chain(networks: Sequence[keras.Model], lr):
    """Runs the networks of a chain on an LR batch, without tiles, as exported graphs do."""
    x = lr
    for network in networks:
        x = network([x, lr] if len(network.inputs) == 2 else x, training=False)
    return x


def chain_radius(stages: Sequence[Stage]) -> int:
    """Returns the LR pixels on each side that a pixel of the chain's last map may depend on."""
    return sum(stage.radius for stage in stages)


def chain_align(stages: Sequence[Stage]) -> int:
    """Returns the number of LR pixels of which the start of a part must be a multiple.

    Of any two stages' values one divides the other, so the largest suits all.
    """
    return max(stage.align for stage in stages)
