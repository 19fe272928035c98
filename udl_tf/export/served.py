"""The functions of a served SavedModel: images in, images and theta out, all inside the graph.

Results equal those of KerasUpscaler.upscale, except of grey images stored as RGB: mirrored
borders, plain areas, tiles and rounding.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import tensorflow as tf

from udl_tf.export.graph import theta_of, weights_of
from udl_tf.export.served_input import check_images, decode_image
from udl_tf.export.served_passes import Form, ServedChain, ServedPass
from udl_tf.inference.keras_upscaler import KerasUpscaler
from udl_tf.inference.upscaler import BORDER
from udl_tf.saved.card import THETA_STEPS, ModelCard

_OUTPUTS = {"sr": "sr", "log_scale": "theta"}  # of endpoints, by the map of a network


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
        forms = {
            "sr": Form(tf.identity, tf.identity, tf.float32)
            if card.measures
            else Form(tf.identity, _to_uint8, tf.uint8),
            "log_scale": Form(
                partial(theta_of, model), partial(tf.cast, dtype=theta_dtype), theta_dtype
            ),
        }
        # If one network computes both maps, endpoints without theta use a separate, shorter pass.
        both = dict(model.networks.build_chains("theta" in card.outputs, bordered=True))
        alone = dict(model.networks.build_chains(False, bordered=True))
        chains = {**alone, **both}
        self.tracked = weights_of(chains.values())
        passes = {
            maps: ServedPass(
                ServedChain.plan(chain, card.max_pixels, memory_gb),
                {_OUTPUTS[name]: forms[name] for name in maps},
                card.self_ensemble,
            )
            for maps, chain in chains.items()
        }
        self._passes = [passes[maps] for maps in both]
        self._sr_passes = [passes[maps] for maps in alone]
        self.endpoints = self._make_endpoints(image_dtype)

    def _make_endpoints(self, image_dtype: tf.DType) -> dict[str, Any]:
        image = tf.TensorSpec((None, None, None, self._card.channels), image_dtype, name="image")
        data = tf.TensorSpec((None,), tf.string, name="image_bytes")
        query = tf.TensorSpec((None,), tf.string, name="query")
        every, sr = self._passes, self._sr_passes
        # Names of arguments are names of inputs, hence no functools.partial.
        functions = {
            "serving_default": (lambda image: self._upscale(image, every), image),
            "sr_only": (lambda image: self._upscale(image, sr), image),
            "image_bytes": (lambda image_bytes: self._upscale_bytes(image_bytes, every), data),
            "image_bytes_sr_only": (
                lambda image_bytes: self._upscale_bytes(image_bytes, sr),
                data,
            ),
            "model_card": (lambda query: self._return_card(query), query),
        }
        return {
            name: tf.function(function, input_signature=[spec], autograph=False)
            for name, (function, spec) in functions.items()
            if spec is not data or self._card.takes_files
        }

    def _return_card(self, query):
        """Returns the model card once per query, whose content is ignored."""
        return {"card": tf.fill(tf.shape(query), tf.io.read_file(self._card_file.asset_path))}

    def _upscale(self, image, passes: Sequence[ServedPass]) -> dict[str, Any]:
        """Returns "sr" (uint8, of measurements float32) and "theta" of images (n, h, w, c)."""
        card = self._card
        lr, scale = check_images(image, self._max_pixels, not card.measures), card.scale
        maps = {name: m for one in passes for name, m in one(lr).items()}
        maps["sr"] = _fill_plain_areas(maps["sr"], lr, scale)
        return maps

    def _upscale_bytes(self, image_bytes, passes: Sequence[ServedPass]):
        """Returns PNG images, and theta as 16-bit PNG in steps of 1/256, of encoded images."""

        def upscale_one(data):
            image = decode_image(data, self._max_pixels, self._card.channels)
            maps = self._upscale(image[None], passes)
            encoded = {"sr_image_bytes": tf.io.encode_png(maps["sr"][0])}
            if "theta" in maps:
                theta = tf.cast(maps["theta"][0], tf.float32)
                steps = tf.minimum(tf.round(theta * THETA_STEPS), 65535.0)
                encoded["theta_image_bytes"] = tf.io.encode_png(tf.cast(steps, tf.uint16))
            return encoded

        # One after another: the images may differ in size, and memory holds a single one.
        outputs = [name for one in passes for name in one.outputs]
        signature = {f"{name}_image_bytes": tf.TensorSpec((), tf.string) for name in outputs}
        return tf.map_fn(
            upscale_one, image_bytes, parallel_iterations=1, fn_output_signature=signature
        )


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
    values = _to_uint8(lr) if sr.dtype == tf.uint8 else lr
    return tf.where(enlarge(plain), enlarge(values), sr)


def _to_uint8(x):
    return tf.cast(tf.clip_by_value(x, 0.0, 255.0) + 0.5, tf.uint8)
