"""The functions of a served SavedModel: images in, images and theta out, all inside the graph.

Results equal those of KerasUpscaler.upscale: mirrored borders, plain areas, tiles and rounding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import tensorflow as tf

from udl_tf.export.graph import theta_of, weights_of
from udl_tf.export.graph_tiling import run_tiled
from udl_tf.export.served_input import check_images, decode_image, mirror
from udl_tf.inference.chain_runner import ChainRunner
from udl_tf.inference.keras_upscaler import KerasUpscaler
from udl_tf.inference.self_ensemble import MEMBERS
from udl_tf.inference.upscaler import BORDER
from udl_tf.models.stages import Stage, chain_align, chain_radius
from udl_tf.saved.card import THETA_STEPS, ModelCard


@dataclass(frozen=True)
class _Chain:
    """A chain of stages and its tiles, planned as in udl_tf.inference.chain_runner.

    Attributes:
        stages: the chain.
        capacity: most LR pixels of a window of the whole chain.
        capacities: most LR pixels of a window of each stage.
    """

    stages: Sequence[Stage]
    capacity: float
    capacities: Sequence[float]

    @classmethod
    def plan(cls, stages: Sequence[Stage], max_pixels: int, memory_gb: float | None) -> "_Chain":
        """Plans the tiles for the largest image."""
        runner = ChainRunner(stages)
        budget = 1e9 * memory_gb if memory_gb else runner.sensible_budget
        side, capacities = runner.plan(max_pixels, budget)
        return cls(runner.stages, float((side + 2 * runner.radius) ** 2), capacities)

    def run(self, lr, finish: Callable[[Any], Any], dtype: tf.DType):
        """Returns the last map of float32 (n, h, w, 3), after `finish`, which converts it to dtype.

        Each tile is finished by itself, so that the whole map needs memory in its final dtype only.
        """
        radius, align = chain_radius(self.stages), chain_align(self.stages)
        scale = self.stages[-1].scale
        compute = partial(self._compute, finish)
        return run_tiled(compute, [(lr, 1)], self.capacity, radius, align, scale, dtype=dtype)

    def _compute(self, finish: Callable[[Any], Any], window):
        """Runs the stages over a window, each in tiles of its own."""
        x, scale = window, 1
        for stage, capacity in zip(self.stages, self.capacities, strict=True):
            maps = [(x, scale)]
            if len(stage.network.inputs) == 2:
                maps.append((window, 1))
            compute = partial(_run_network, stage.network)
            x = run_tiled(
                compute, maps, capacity, stage.radius, stage.align, stage.scale, stage.channels
            )
            scale = stage.scale
        return finish(x)


def _run_network(network: Any, *windows):
    return network(windows[0] if len(windows) == 1 else list(windows), training=False)


@dataclass(frozen=True)
class _Form:
    """Conversions of the map of a network.

    Attributes:
        gray_levels: map of the network -> grey levels, float32.
        final: grey levels -> the output of the endpoint.
        dtype: dtype of the output.
    """

    gray_levels: Callable[[Any], Any]
    final: Callable[[Any], Any]
    dtype: tf.DType

    def __call__(self, values):
        return self.final(self.gray_levels(values))


class ServedModule(tf.Module):
    """The functions of the signatures, with the weights that they use.

    Args:
        model: the model to serve.
        card: its outputs, self-ensemble and largest image.
        card_file: the card as JSON, stored as an asset, which may be rewritten afterwards.
        image_dtype: dtype of the images, tf.uint8 or tf.float32.
        theta_dtype: dtype of theta, tf.float32, or tf.float16, which the REST API does not support.
        memory_gb: working memory in addition to the result; None: as much as the networks need.

    Attributes:
        endpoints: the functions by name of the signature.
    """

    def __init__(
        self,
        model: KerasUpscaler,
        card: ModelCard,
        card_file: Path,
        image_dtype: tf.DType,
        theta_dtype: tf.DType,
        memory_gb: float | None,
    ):
        super().__init__()
        assert card.max_pixels is not None
        self._card, self._max_pixels = card, card.max_pixels
        self._card_file = tf.saved_model.Asset(str(card_file))
        chains = {"sr": model.networks.mean.build_chain("sr", bordered=True)}
        self._forms = {"sr": _Form(tf.identity, _to_uint8, tf.uint8)}
        if "theta" in card.outputs:
            assert model.networks.uncertainty is not None
            chains["theta"] = model.networks.uncertainty.build_chain("log_scale", bordered=True)
            self._forms["theta"] = _Form(
                partial(theta_of, model), partial(tf.cast, dtype=theta_dtype), theta_dtype
            )
        self._chains = {
            name: _Chain.plan(chain, card.max_pixels, memory_gb) for name, chain in chains.items()
        }
        self.tracked = weights_of(chains.values())
        lr = tf.TensorSpec((None, None, None, 3), tf.float32, name="lr")
        self._maps = {  # traced once for all endpoints
            name: tf.function(partial(self._map, name), input_signature=[lr], autograph=False)
            for name in self._chains
        }
        self.endpoints = self._make_endpoints(image_dtype)

    def _make_endpoints(self, image_dtype: tf.DType) -> dict[str, Any]:
        image = tf.TensorSpec((None, None, None, 3), image_dtype, name="image")
        data = tf.TensorSpec((None,), tf.string, name="image_bytes")
        query = tf.TensorSpec((None,), tf.string, name="query")
        outputs = tuple(self._card.outputs)
        # Names of arguments are names of inputs, hence no functools.partial.
        functions = {
            "serving_default": (lambda image: self._upscale(image, outputs), image),
            "sr_only": (lambda image: self._upscale(image, ("sr",)), image),
            "image_bytes": (lambda image_bytes: self._upscale_bytes(image_bytes, outputs), data),
            "image_bytes_sr_only": (
                lambda image_bytes: self._upscale_bytes(image_bytes, ("sr",)),
                data,
            ),
            "model_card": (lambda query: self._return_card(query), query),
        }
        return {
            name: tf.function(function, input_signature=[spec], autograph=False)
            for name, (function, spec) in functions.items()
        }

    def _return_card(self, query):
        """Returns the model card once per query, whose content is ignored."""
        return {"card": tf.fill(tf.shape(query), tf.io.read_file(self._card_file.asset_path))}

    def _upscale(self, image, outputs: Sequence[str]) -> dict[str, Any]:
        """Returns "sr" (uint8) and "theta" of images (n, h, w, 3) with values 0..255."""
        lr, scale = check_images(image, self._max_pixels), self._card.scale
        maps = {}
        for name in outputs:
            if self._card.self_ensemble:
                mean = _mean_of_members(lr, self._maps[name], scale)
                maps[name] = self._forms[name].final(mean)
            else:
                maps[name] = self._maps[name](lr)
        maps["sr"] = _fill_plain_areas(maps["sr"], lr, scale)
        return maps

    def _map(self, name: str, lr):
        """Returns an output for float32 (n, h, w, 3); for self-ensemble in grey levels."""
        form, edge = self._forms[name], BORDER * self._card.scale
        finish = form.gray_levels if self._card.self_ensemble else form
        dtype = tf.float32 if self._card.self_ensemble else form.dtype
        return self._chains[name].run(mirror(lr), finish, dtype)[:, edge:-edge, edge:-edge]

    def _upscale_bytes(self, image_bytes, outputs: Sequence[str]):
        """Returns PNG images, and theta as 16-bit PNG in steps of 1/256, of encoded images."""

        def upscale_one(data):
            image = decode_image(data, self._max_pixels)
            maps = self._upscale(image[None], outputs)
            encoded = {"sr_image_bytes": tf.io.encode_png(maps["sr"][0])}
            if "theta" in outputs:
                theta = tf.cast(maps["theta"][0], tf.float32)
                steps = tf.minimum(tf.round(theta * THETA_STEPS), 65535.0)
                encoded["theta_image_bytes"] = tf.io.encode_png(tf.cast(steps, tf.uint16))
            return encoded

        # One after another: the images may differ in size, and memory holds a single one.
        signature = {f"{name}_image_bytes": tf.TensorSpec((), tf.string) for name in outputs}
        return tf.map_fn(
            upscale_one, image_bytes, parallel_iterations=1, fn_output_signature=signature
        )


def _mean_of_members(lr, run: Callable[[Any], Any], scale: int):
    """Returns the mean of a map over the eight flips and rotations of the image."""

    def body(member, mean):
        turned = tf.image.rot90(lr, member % 4)
        turned = tf.cond(member >= 4, lambda: turned[:, :, ::-1], lambda: turned)
        turned.set_shape((None, None, None, 3))
        values = run(turned)
        values = tf.cond(member >= 4, lambda: values[:, :, ::-1], lambda: values)
        values = tf.image.rot90(values, 4 - member % 4)
        return member + 1, mean + values / MEMBERS

    shape = tf.shape(lr)
    zeros = tf.zeros((shape[0], shape[1] * scale, shape[2] * scale, 3))
    shapes = tf.TensorShape(()), tf.TensorShape((None, None, None, 3))
    loop = (tf.constant(0), zeros)
    return tf.while_loop(
        lambda member, _: member < MEMBERS, body, loop, shapes, parallel_iterations=1
    )[1]


def _fill_plain_areas(sr, lr, scale: int):
    """Gives pixels that see nothing but one colour that colour; see udl_tf.inference.upscaler."""

    def maximum(x):
        side = 2 * BORDER + 1
        for size in ((side, 1), (1, side)):
            x = tf.nn.max_pool2d(x, size, 1, "SAME")
        return x

    def enlarge(x):
        return tf.repeat(tf.repeat(x, scale, axis=1), scale, axis=2)

    plain = tf.reduce_all(tf.equal(maximum(lr), -maximum(-lr)), axis=-1, keepdims=True)
    return tf.where(enlarge(plain), enlarge(_to_uint8(lr)), sr)


def _to_uint8(x):
    return tf.cast(tf.clip_by_value(x, 0.0, 255.0) + 0.5, tf.uint8)
