"""The TensorFlow function that TFLite and ONNX exports compute, and model cards of all exports."""

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from udl_tf._support.json_files import parse_model, read_json
from udl_tf._support.versions import versions
from udl_tf.errors import UserError
from udl_tf.evaluation.protocol import totals
from udl_tf.export.int8 import quantizable
from udl_tf.export.theta_head import with_theta
from udl_tf.hub import presets
from udl_tf.inference.keras_upscaler import KerasUpscaler
from udl_tf.inference.upscaler import BORDER
from udl_tf.models.heads import LARGEST_THETA
from udl_tf.models.stages import Stage, chain_align, chain_radius, run_chain
from udl_tf.saved.bundle import read_manifest, read_networks
from udl_tf.saved.card import ModelCard, Precision
from udl_tf.saved.loading import name_of

# Tiles overlap by the receptive radius up to _LONGEST_MARGIN, else by _SHORT_MARGIN: with DPDNN's
# radius of 463 pixels at x4, a tile of 1 pixel would need a window of 927 x 927.
_LONGEST_MARGIN = 96
_SHORT_MARGIN = 48


def check_suffix(output: Path | str, suffix: str) -> None:
    """Requires the suffix by which `load` recognises the format.

    Raises:
        UserError: for another suffix.
    """
    if Path(output).suffix != suffix:
        raise UserError(f"{output}: expected a name that ends in {suffix}", argument="output")


def read_run(folder: Path | str) -> KerasUpscaler:
    """Reads the model to export from a run folder or preset, in float32.

    Raises:
        UserError: if the folder holds no trained model, or the backend is not TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise UserError(
            f"KERAS_BACKEND={keras.backend.backend()}: exports need the TensorFlow backend: run the"
            " command with KERAS_BACKEND=tensorflow"
        )
    return KerasUpscaler(read_networks(folder))


def make_card(
    folder: Path | str,
    model: KerasUpscaler,
    uncertainty: bool,
    licence: str | None = None,
    **facts: Any,
) -> ModelCard:
    """Builds the card of an export.

    Args:
        folder: the bundle, or the name of a preset.
        model: the model of the bundle.
        uncertainty: whether to export theta, if the model predicts it.
        licence: of the weights, in words; None: the bundle's.
        facts: fields of the card that depend on the format, or replace defaults.
    """
    name, folder = name_of(folder), presets.find(folder)
    manifest = read_manifest(folder)
    outputs, chains = zip(*model.networks.build_chains(uncertainty, bordered=True), strict=True)
    networks = (chain for _, chain in model.networks.build_chains(uncertainty, bordered=False))
    variables = {id(v): v for v in weights_of(networks)}
    radius = max(chain_radius(chain) for chain in chains)
    # A served model tiles exactly inside the graph, stage by stage, whatever its radius.
    exact = facts["format"] == "savedmodel"
    # LiteRT frees tensors of dynamic shape only when the whole graph has run.
    alive = sum if facts["format"] == "tflite" else max
    defaults = {
        "name": name,
        "scale": model.scale,
        "outputs": ["sr", "theta"] if "log_scale" in sum(outputs, ()) else ["sr"],
        "architecture": manifest.architecture,
        "range": manifest.range,
        "parameters": sum(v.shape.num_elements() or 0 for v in variables.values()),
        "border": BORDER,
        "smallest": 1,
        "radius": radius,
        "margin": radius if radius <= _LONGEST_MARGIN or exact else _SHORT_MARGIN,
        "align": max(chain_align(chain) for chain in chains),
        "floats": alive(stage.floats for chain in chains for stage in chain),
        "metrics": _read_metrics(folder),
        "calibration": model.calibration,
        "training": manifest.training,
        "licence": licence or manifest.licence,
        "limits": manifest.limits,
        "versions": versions(),
    }
    return parse_model({**defaults, **facts}, ModelCard, f"export of {name}")


def _read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Returns the results of a run on its test sets, without those of single images."""
    try:
        results = read_json(folder / "metrics.json").get("results", [])
    except (OSError, UserError):
        return []
    return totals(results)


class UpscalingModule(tf.Module):
    """Function lr -> {"sr", "theta"} in grey levels as one graph, with the weights it uses.

    Args:
        model: the model to export.
        card: its outputs, and the pixels by which the graph mirrors its input.

    Attributes:
        upscale: the function.
        signature: its input signature.
    """

    def __init__(self, model: KerasUpscaler, card: ModelCard):
        super().__init__()
        chains = model.networks.build_chains("theta" in card.outputs, bordered=True)
        if card.precision == "int8":
            chains = [(names, [*map(quantizable, chain)]) for names, chain in chains]
        line = model.networks.log_theta_line
        chains = [with_theta(names, chain, line) for names, chain in chains]
        self.tracked = weights_of(chain for _, chain in chains)
        size = (1, card.tile, card.tile) if card.tile else (None, None, None)
        self.signature = [tf.TensorSpec((*size, card.channels), tf.float32, name="lr")]

        def upscale(lr):
            x = mirror(lr, card.border)
            outputs = {}
            for names, chain in chains:
                outputs |= dict(zip(names, run_chain(chain, x), strict=True))
            sr = outputs["sr"]
            maps = {"sr": sr if card.measures else _in_range(sr, card.precision)}
            if "theta" in card.outputs:
                theta = outputs.get("theta")
                maps["theta"] = theta_of(model, outputs["log_scale"]) if theta is None else theta
            edge = card.border * card.scale
            return {k: m[:, edge:-edge, edge:-edge] if edge else m for k, m in maps.items()}

        self.upscale: Callable[..., Any] = tf.function(
            upscale, input_signature=self.signature, autograph=False
        )


def _in_range(sr, precision: Precision):
    """Returns an image clipped to 0..255."""
    if precision != "int8":
        return tf.clip_by_value(sr, 0.0, 255.0)
    # So that 256 levels, also those of the maps before, are the grey levels: the converter passes
    # the range of a minimum and of a maximum to their input, but a maximum of 0 becomes a ReLU,
    # whose range it does not pass.
    return tf.maximum(tf.minimum(sr, 255.0), 1e-9)


def mirror(lr, border: int):
    """Returns images (n, h, w, c) mirrored outwards by `border` pixels, the edge repeated.

    Images smaller than the border are mirrored several times, which tf.pad does not support. The
    result consists of slices, because all runtimes know their shape before they compute.
    """
    pairs = (border + 1) // 2  # each is at least two pixels wide
    for axis in (1, 2) if border else ():
        first, last = _part(lr, axis, slice(border)), _part(lr, axis, slice(-border, None))
        before = tf.concat([first, tf.reverse(first, [axis])] * pairs, axis)
        after = tf.concat([tf.reverse(last, [axis]), last] * pairs, axis)
        before, after = _part(before, axis, slice(-border, None)), _part(after, axis, slice(border))
        lr = tf.concat([before, lr, after], axis)
    return lr


def _part(x, axis: int, part: slice):
    return x[:, part] if axis == 1 else x[:, :, part]


def weights_of(chains: Iterable[Sequence[Stage]]) -> list[tf.Variable]:
    """Returns the variables that a module of these chains must track."""
    return [v.value for chain in chains for stage in chain for v in stage.network.variables]


def theta_of(model: KerasUpscaler, log_scale):
    """Returns theta for a tensor of s, as Networks.theta_of does for an array."""
    a, b = model.networks.log_theta_line
    most = math.log(LARGEST_THETA)
    return tf.exp(tf.minimum(a + b * log_scale, most))
