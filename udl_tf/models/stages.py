"""Networks as chains of stages, each with a small receptive field, for cheap exact tiling.

An image is computed stage by stage, and each stage in tiles that overlap by its own radius; only
the maps between stages exist as a whole. For a deep network, such as DPDNN's unrolled steps, this
is many times cheaper than tiles that overlap by the radius of the whole network.

A network has a method `build_chain(*outputs, bordered=False)`, or only an attribute `radius`: it is
then a single stage. The last network of a chain computes the given `outputs`, "sr" or "log_scale"
or both. With `bordered`, the caller promises to crop the outermost pixels of the result
(udl_tf.inference.upscaler.BORDER). They need not be exact, which permits a faster chain; it may
hold a copy of the weights, which later changes of the network do not reach.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import keras

from udl_tf.errors import UserError

_MAPS = 4  # in memory at once, each of the most channels, at HR size: an upper estimate


@dataclass(frozen=True)
class Stage:
    """One stage of a chain. Its input is the previous stage's map, or first the LR image.

    Attributes:
        network: input map, or [input map, LR image] -> output map, or in the last stage a list of
            output maps if there are several.
        scale: size of the output map over the size of the LR image.
        radius: LR pixels on each side that an output pixel may depend on.
        floats: largest number of floats in memory while the stage runs, per LR pixel.
        align: a part of the image must start at a multiple of this many LR pixels, so that its
            result equals that of the whole image.
        parts: networks that in sequence compute the same as `network`, each from a map, or [map, LR
            image]; progress is reported after each. Empty: `network` alone.
    """

    network: keras.Model
    scale: int
    radius: int
    floats: int
    align: int = 1
    parts: tuple[keras.Model, ...] = ()

    @property
    def channels(self) -> int:
        """Number of channels of all output maps."""
        return sum(output.shape[-1] for output in self.network.outputs)


def chain_of(network: keras.Model, *outputs: str, bordered: bool = False) -> Sequence[Stage]:
    """Builds the chain of a network; one stage if it states only its radius.

    Raises:
        UserError: if it states neither.
    """
    if hasattr(network, "build_chain"):
        return network.build_chain(*outputs, bordered=bordered)
    radius = getattr(network, "radius", None)
    if not isinstance(radius, int) or radius < 0:
        raise UserError(
            f"its radius is {radius!r}; expected an attribute radius, the LR pixels on each side"
            " that a pixel of the result may depend on, or a method build_chain"
        )
    part = keras.Model(network.input, [network.output[output] for output in outputs])
    channels = network.input_shape[-1]
    specs = network.compute_output_spec(keras.KerasTensor((1, 1, 1, channels)))
    scale = specs["sr"].shape[1]
    widest = max((weight.shape[-1] for weight in network.weights), default=channels)
    return [Stage(part, scale, radius, floats=_MAPS * widest * scale**2)]


def run_chain(stages: Sequence[Stage], lr) -> list:
    """Computes the last maps of a chain for an LR batch, without tiles, as exported graphs do."""
    x = lr
    for stage in stages:
        x = stage.network([x, lr] if len(stage.network.inputs) == 2 else x, training=False)
    return x if isinstance(x, list) else [x]  # Keras returns a single map as it is


def chain_radius(stages: Sequence[Stage]) -> int:
    """Returns the LR pixels on each side that a pixel of the chain's last map may depend on."""
    return sum(stage.radius for stage in stages)


def chain_align(stages: Sequence[Stage]) -> int:
    """Returns the number of LR pixels of which the start of a part must be a multiple.

    Of any two stages' values one divides the other, so the largest suits all.
    """
    return max(stage.align for stage in stages)
