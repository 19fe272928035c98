"""What every export computes, as TensorFlow functions; and its model card."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from udl_tf.bundle import load, read_manifest
from udl_tf.errors import UserError
from udl_tf.model_card import ModelCard
from udl_tf.models import mean_part, uncertainty_part
from udl_tf.models.blocks import pad_symmetric
from udl_tf.models.stages import chain_align, chain_radius
from udl_tf.super_resolver import SuperResolver
from udl_tf.upscaler import BORDER
from udl_tf.versions import versions

# Tiles overlap by the receptive radius up to here, by _SHORT_MARGIN beyond: DPDNN's 463 pixels at
# x4 would make a tile of 1 pixel cost 927 x 927.
_LONGEST_MARGIN = 96
_SHORT_MARGIN = 48


def load_for_export(folder: Path | str) -> SuperResolver:
    """Loads a run folder in float32.

    Raises:
        UserError: as udl_tf.bundle.load, or under another backend than TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise UserError(
            f"KERAS_BACKEND={keras.backend.backend()}: exports are made with the TensorFlow"
            " backend: run it with KERAS_BACKEND=tensorflow"
        )
    return load(folder)


def make_card(
    folder: Path | str, model: SuperResolver, uncertainty: bool, **facts: Any
) -> ModelCard:
    """The card of an export of a run folder, with theta if the model has it, and these facts."""
    folder = Path(folder)
    manifest = read_manifest(folder)
    networks = {"sr": mean_part(model.mean)}
    chains = [model.mean.stages("sr")]
    if uncertainty and model.uncertainty is not None:
        networks["log_scale"] = uncertainty_part(model.uncertainty)
        chains.append(model.uncertainty.stages("log_scale"))
    variables = {id(v): v for network in networks.values() for v in network.variables}
    radius = max(chain_radius(chain) for chain in chains)
    served = facts["format"] == "savedmodel"  # which itself computes in exact tiles
    # TFLite keeps every tensor whose shape it finds on the way until it has made the picture.
    alive = sum if facts["format"] == "tflite" else max
    usual = {
        "name": folder.resolve().name,
        "scale": model.scale,
        "outputs": ["sr", "theta"] if len(chains) == 2 else ["sr"],
        "architecture": manifest.architecture,
        "parameters": sum(int(np.prod(v.shape)) for v in variables.values()),
        "border": BORDER,
        "smallest": BORDER,
        "radius": radius,
        "margin": radius if radius <= _LONGEST_MARGIN or served else _SHORT_MARGIN,
        "align": max(chain_align(chain) for chain in chains),
        "floats": alive(stage.floats for chain in chains for stage in chain),
        "metrics": _metrics(folder),
        "calibration": model.calibration,
        "training": manifest.training,
        "versions": versions(),
    }
    return ModelCard(**{**usual, **facts})


def _metrics(folder: Path) -> list[dict[str, Any]]:
    """PSNR-Y and SSIM-Y on the run's test sets, as far as it has any."""
    try:
        results = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["results"]
    except (OSError, ValueError, KeyError):
        return []
    return [{key: value for key, value in r.items() if key != "per_image"} for r in results]


class PictureModule(tf.Module):
    """lr -> {"sr": 0..255, "theta"} as one graph, with the weights that it uses.

    Args:
        model: what is exported.
        card: says which outputs, and by how much the graph itself mirrors the picture.
    """

    def __init__(self, model: SuperResolver, card: ModelCard):
        super().__init__()
        networks = [mean_part(model.mean)]
        if "theta" in card.outputs:
            assert model.uncertainty is not None
            both = model.uncertainty is model.mean
            networks = [model.mean] if both else [*networks, uncertainty_part(model.uncertainty)]
        self.tracked = [v.value for network in networks for v in network.variables]
        shape = (1, card.tile, card.tile, 3) if card.tile else (None, None, None, 3)
        self.signature = [tf.TensorSpec(shape, tf.float32, name="lr")]

        def picture(lr):
            x = pad_symmetric(lr, card.border)
            made = {}
            for network in networks:
                made |= network(x, training=False)
            maps = {"sr": tf.clip_by_value(made["sr"], 0.0, 255.0)}
            if "theta" in card.outputs:
                maps["theta"] = theta_of(model, made["log_scale"])
            edge = card.border * card.scale
            return {k: m[:, edge:-edge, edge:-edge] if edge else m for k, m in maps.items()}

        self.picture: Callable[..., Any] = tf.function(
            picture, input_signature=self.signature, autograph=False
        )


def theta_of(model: SuperResolver, log_scale):
    """theta in grey levels, calibrated."""
    a, b = model.log_theta_line
    return tf.exp(a + b * log_scale)
