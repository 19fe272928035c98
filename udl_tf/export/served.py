"""The functions of a served SavedModel: pictures in, pictures and theta out, all inside the graph.

Their results are those of KerasUpscaler.upscale: mirrored borders, plain areas, tiles, rounding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import tensorflow as tf

from udl_tf.export.graph import theta_of, weights_of
from udl_tf.export.graph_tiling import run_tiled
from udl_tf.export.served_input import checked, decoded, mirrored
from udl_tf.inference.chain_runner import ChainRunner
from udl_tf.inference.keras_upscaler import KerasUpscaler
from udl_tf.inference.self_ensemble import MEMBERS
from udl_tf.inference.upscaler import BORDER
from udl_tf.models.stages import Stage, chain_align, chain_radius
from udl_tf.saved.card import THETA_STEPS, ModelCard


@dataclass(frozen=True)
class _Chain:
    """A chain of stages with the most LR pixels that all together and each may take at a time."""

    stages: Sequence[Stage]
    room: float
    rooms: Sequence[float]

    @classmethod
    def of(cls, stages: Sequence[Stage], max_pixels: int, memory_gb: float | None) -> "_Chain":
        """Planned for the largest picture."""
        runner = ChainRunner(stages)
        side, rooms = runner.plan(
            max_pixels, 1e9 * memory_gb if memory_gb else runner.sensible_budget
        )
        return cls(runner.stages, float((side + 2 * runner.radius) ** 2), rooms)

    def run(self, lr, finish: Callable[[Any], Any], dtype: tf.DType):
        """The last map of float32 (n, h, w, 3), each tile brought into its final form."""

        def chain(window):
            x, scale = window, 1
            for stage, room in zip(self.stages, self.rooms, strict=True):
                maps = [(x, scale)]
                if len(stage.network.inputs) == 2:
                    maps.append((window, 1))
                x = run_tiled(
                    lambda *windows, network=stage.network: network(
                        windows[0] if len(windows) == 1 else list(windows), training=False
                    ),
                    maps, room, stage.radius, stage.align, stage.scale, stage.channels,
                )  # fmt: skip
                scale = stage.scale
            return finish(x)

        radius, align = chain_radius(self.stages), chain_align(self.stages)
        scale = self.stages[-1].scale
        return run_tiled(chain, [(lr, 1)], self.room, radius, align, scale, dtype=dtype)


@dataclass(frozen=True)
class _Form:
    """How a network's map becomes grey levels, and these what is served."""

    gray_levels: Callable[[Any], Any]
    final: Callable[[Any], Any]
    dtype: tf.DType

    def __call__(self, values):
        return self.final(self.gray_levels(values))


class ServedModule(tf.Module):
    """The signatures' functions, with the weights that they use.

    Args:
        model: what is served.
        card: says which outputs, whether with self-ensemble, and the largest picture.
        card_file: its JSON, which becomes an asset that may be written anew.
        image_dtype: of the pictures, tf.uint8 or tf.float32.
        theta_dtype: of theta, tf.float32 or tf.float16, which TF Serving's REST API lacks.
        memory_gb: to compute with, beside the result; None: what the networks need.
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
            name: _Chain.of(chain, card.max_pixels, memory_gb) for name, chain in chains.items()
        }
        self.tracked = weights_of(chains.values())

        lr = tf.TensorSpec((None, None, None, 3), tf.float32, name="lr")
        self._maps = {  # traced once for all endpoints
            name: tf.function(partial(self._map, name), input_signature=[lr], autograph=False)
            for name in self._chains
        }

        image = tf.TensorSpec((None, None, None, 3), image_dtype, name="image")
        data = tf.TensorSpec((None,), tf.string, name="image_bytes")
        query = tf.TensorSpec((None,), tf.string, name="query")
        outputs = tuple(card.outputs)
        functions = {
            "serving_default": (lambda image: self._upscale(image, outputs), image),
            "sr_only": (lambda image: self._upscale(image, ("sr",)), image),
            "image_bytes": (lambda image_bytes: self._upscale_bytes(image_bytes, outputs), data),
            "image_bytes_sr_only": (
                lambda image_bytes: self._upscale_bytes(image_bytes, ("sr",)),
                data,
            ),
            "model_card": (lambda query: self._answer(query), query),
        }
        self.endpoints = {
            name: tf.function(function, input_signature=[spec], autograph=False)
            for name, (function, spec) in functions.items()
        }

    def _answer(self, query):
        """The model card, for each query, whatever it says."""
        return {"card": tf.fill(tf.shape(query), tf.io.read_file(self._card_file.asset_path))}

    def _upscale(self, image, outputs: Sequence[str]) -> dict[str, Any]:
        """(n, h, w, 3) with values 0..255 -> "sr" uint8 and "theta"."""
        lr, scale = checked(image, self._max_pixels), self._card.scale
        maps = {}
        for name in outputs:
            if self._card.self_ensemble:
                mean = _mean_of_members(lr, self._maps[name], scale)
                maps[name] = self._forms[name].final(mean)
            else:
                maps[name] = self._maps[name](lr)
        maps["sr"] = _with_plain_areas(maps["sr"], lr, scale)
        return maps

    def _map(self, name: str, lr):
        """A map of float32 (n, h, w, 3): as served, or for self-ensemble in grey levels."""
        form, edge = self._forms[name], BORDER * self._card.scale
        finish = form.gray_levels if self._card.self_ensemble else form
        dtype = tf.float32 if self._card.self_ensemble else form.dtype
        return self._chains[name].run(mirrored(lr), finish, dtype)[:, edge:-edge, edge:-edge]

    def _upscale_bytes(self, image_bytes, outputs: Sequence[str]):
        """Encoded pictures of any sizes -> PNGs, and of theta 16-bit PNGs in steps of 1/256."""

        def one(data):
            image = decoded(data, self._max_pixels)
            maps = self._upscale(image[None], outputs)
            made = {"sr_image_bytes": tf.io.encode_png(maps["sr"][0])}
            if "theta" in outputs:
                theta = tf.cast(maps["theta"][0], tf.float32)
                steps = tf.minimum(tf.round(theta * THETA_STEPS), 65535.0)
                made["theta_image_bytes"] = tf.io.encode_png(tf.cast(steps, tf.uint16))
            return made

        signature = {f"{name}_image_bytes": tf.TensorSpec((), tf.string) for name in outputs}
        return tf.map_fn(one, image_bytes, parallel_iterations=1, fn_output_signature=signature)


def _mean_of_members(lr, run: Callable[[Any], Any], scale: int):
    """Mean of a map over the eight flips and rotations."""

    def body(member, mean):
        turned = tf.image.rot90(lr, member % 4)
        turned = tf.cond(member >= 4, lambda: turned[:, :, ::-1], lambda: turned)
        turned.set_shape((None, None, None, 3))
        made = run(turned)
        made = tf.cond(member >= 4, lambda: made[:, :, ::-1], lambda: made)
        made = tf.image.rot90(made, 4 - member % 4)
        return member + 1, mean + made / MEMBERS

    shape = tf.shape(lr)
    zeros = tf.zeros((shape[0], shape[1] * scale, shape[2] * scale, 3))
    shapes = tf.TensorShape(()), tf.TensorShape((None, None, None, 3))
    loop = (tf.constant(0), zeros)
    return tf.while_loop(
        lambda member, _: member < MEMBERS, body, loop, shapes, parallel_iterations=1
    )[1]


def _with_plain_areas(sr, lr, scale: int):
    """See udl_tf.inference.upscaler: pixels that see nothing but one colour become that colour."""

    def extreme(x):
        side = 2 * BORDER + 1
        for size in ((side, 1), (1, side)):
            x = tf.nn.max_pool2d(x, size, 1, "SAME")
        return x

    plain = tf.reduce_all(tf.equal(extreme(lr), -extreme(-lr)), axis=-1, keepdims=True)

    def enlarged(x):
        return tf.repeat(tf.repeat(x, scale, axis=1), scale, axis=2)

    return tf.where(enlarged(plain), enlarged(_to_uint8(lr)), sr)


def _to_uint8(x):
    return tf.cast(tf.clip_by_value(x, 0.0, 255.0) + 0.5, tf.uint8)
