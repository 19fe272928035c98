"""Bundles: a trained model on disk, a folder with `model.json` and the weight files it names.

    {"format": 4,
     "architecture": {"name": "edsr_s", "scale": 4, "channels": 3, "options": {...}},
                                                                         arguments of build_model
     "range": [0, 255],                 values that networks see as 0 and 255, or such a pair per
                                        channel; of measurements in the unit of their files
     "mean": {"weights": "weights/step3-esu.weights.h5", "log_scale_head": "light",
              "sha256": "..."},
     "uncertainty": {"weights": "weights/step3-esu.weights.h5", "log_scale_head": "light",
                     "sha256": "...", "unit": 1.0, "power": 1.0} or null,
     "calibration": {"method": "scale", "a": [...], "b": [...], ...} or null,
     "training": {...},                                                  steps, data and origin
     "licence": "...", "limits": "..."}                                  of use, in words

`mean` computes the image, and `uncertainty` computes theta = unit * exp(log_scale / power), in grey
levels, which `calibration` (udl_tf.uncertainty.Calibration) corrects. If both have the same weight
file, one network computes both. "log_scale_head" is the kind of the s head in the file, or null;
"sha256" is the checksum of the file.

Run folders are bundles, and presets (udl_tf.tasks.preset_folder) are read as bundles whose only
weight file is model.weights.h5. Older formats can be read: format 1 had neither calibration nor
sha256, format 2 neither licence nor limits; up to format 3, heads were released ones, and `mean`
had "uncertainty" (true or false) instead of "log_scale_head".
"""

from pathlib import Path
from typing import Any, Self

import keras
from pydantic import Field, TypeAdapter, model_validator

from udl_tf._support.files import sha256
from udl_tf._support.json_files import parse_model, read_json, write_json
from udl_tf.config import Degradation, LogScaleHead, ModelConfig, Section
from udl_tf.errors import UserError, first_line
from udl_tf.hub import presets
from udl_tf.hub.handles import CONFIG, METADATA, WEIGHTS
from udl_tf.imaging.value_range import ValueRange
from udl_tf.inference.keras_upscaler import Networks
from udl_tf.models import build_model, precision
from udl_tf.models.weight_files import load_weights
from udl_tf.saved.card import EIGHT_BIT, Range
from udl_tf.tasks import SRModel
from udl_tf.tasks.preset_folder import (
    IN_RUN,
    architecture_of,
    change_calibration,
    head_of,
    is_preset,
    read_config,
    read_preset,
)
from udl_tf.uncertainty.record import Calibration

FORMAT = 4
MANIFEST = "model.json"


class NetworkFile(Section):
    """Weight file of a network, relative to the folder, and the kind of its s head."""

    weights: str
    log_scale_head: LogScaleHead | None
    sha256: str | None = None


class UncertaintyFile(NetworkFile):
    """The network that computes theta = unit * exp(log_scale / power), in grey levels."""

    unit: float = Field(gt=0)
    power: float = Field(gt=0)


class Manifest(Section):
    """Content of model.json."""

    format: int = FORMAT
    architecture: ModelConfig
    range: Range = Field(default=EIGHT_BIT)
    mean: NetworkFile
    uncertainty: UncertaintyFile | None
    calibration: Calibration | None = None
    training: dict[str, Any]
    licence: str = "not stated"
    limits: str = "not stated"

    @model_validator(mode="after")
    def _check_calibration(self) -> Self:
        if self.calibration is not None:
            self.calibration.check_channels(self.architecture.channels)
        return self


def chosen_degradations(
    text: str | None, bundle: Path | str
) -> str | tuple[Degradation, ...] | None:
    """Returns the operations that --degrade names, for udl_tf.data.sources.degraded.

    Args:
        text: of the option; "training" means the operations that the model was trained with.
        bundle: of the model, as for read_manifest.

    Raises:
        UserError: if the model was trained without any, or it is not known.
    """
    if text != "training":
        return text
    data = read_manifest(bundle).training.get("data", {})
    operations = TypeAdapter(tuple[Degradation, ...]).validate_python(data.get("degradations", ()))
    if not operations:
        raise UserError(
            f"{bundle}: was trained without degradations: omit --degrade, or give operations such"
            " as jpeg:75",
            argument="degrade",
        )
    return operations


def build_network(model: ModelConfig, head: LogScaleHead | None) -> keras.Model:
    """Builds the network of a config, with an s head of the given kind or without one."""
    options = {**model.options, "uncertainty": head is not None}
    if head is not None:
        options["log_scale_head"] = head
    return build_model(model.name, model.scale, model.channels, **options)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes model.json with the checksums of the weight files, which must exist."""
    parts = {"mean": manifest.mean, "uncertainty": manifest.uncertainty}
    signed = {
        name: part.model_copy(update={"sha256": sha256(folder / part.weights)})
        for name, part in parts.items()
        if part is not None
    }
    write_json(folder / MANIFEST, manifest.model_copy(update=signed).model_dump())


def write_calibration(folder: Path, calibration: Calibration) -> None:
    """Stores the calibration of a preset, or of a bundle and the preset in it."""
    if is_preset(folder):
        change_calibration(folder, calibration)
        return
    manifest = read_manifest(folder)
    write_manifest(folder, manifest.model_copy(update={"calibration": calibration}))
    if is_preset(folder / IN_RUN):
        change_calibration(folder / IN_RUN, calibration)


def read_manifest(bundle: Path | str) -> Manifest:
    """Reads model.json of a folder, or the same facts of a preset.

    Args:
        bundle: its folder; or the name, the folder or the handle of a preset.

    Raises:
        UserError: if it is missing, damaged or of a newer format.
    """
    folder = presets.find(bundle)
    if is_preset(folder):
        config = read_config(folder)  # which compares the checksum
        checksum = read_json(folder / METADATA)["sha256"]
        try:
            content = _preset_manifest(config, checksum)
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise UserError(f"{folder / CONFIG}: {first_line(error)}: restore the file") from error
        return parse_model(content, Manifest, folder / CONFIG)
    try:
        content = read_json(folder / MANIFEST, "restore the file")
    except OSError:
        raise _not_a_model(folder) from None
    if content.get("format") not in range(1, FORMAT + 1):
        raise UserError(
            f"{folder / MANIFEST}: format {content.get('format')!r}; this version of udl_tf reads"
            f" formats up to {FORMAT}: update udl_tf"
        )
    return parse_model(_upgraded(content), Manifest, folder / MANIFEST)


def _preset_manifest(config: dict[str, Any], checksum: str) -> dict[str, Any]:
    """Returns the content of model.json for the config and checksum of a preset."""
    theta, second = config["theta"], config["uncertainty_backbone"]
    networks = {"mean": config["backbone"], "uncertainty": second or config["backbone"]}
    parts = {
        part: {"weights": WEIGHTS, "log_scale_head": head_of(network), "sha256": checksum}
        for part, network in networks.items()
    }
    if theta is not None:
        parts["uncertainty"] |= {"unit": theta["unit"], "power": theta["power"]}
    return {
        "architecture": architecture_of(config["backbone"]).model_dump(),
        "range": config.get("value_range", EIGHT_BIT),
        "mean": parts["mean"],
        "uncertainty": None if theta is None else parts["uncertainty"],
        "calibration": theta and theta["calibration"],
        **{"training": {}, **config["about"]},
    }


def _upgraded(content: dict[str, Any]) -> dict[str, Any]:
    """Returns the content of a model.json in the current format."""
    content = {**content, "format": FORMAT}
    mean, uncertainty = content.get("mean"), content.get("uncertainty")
    if isinstance(mean, dict) and "uncertainty" in mean:  # up to format 3
        mean = dict(mean)
        head = "released" if mean.pop("uncertainty") else None
        content["mean"] = {**mean, "log_scale_head": head}
        if isinstance(uncertainty, dict):
            content["uncertainty"] = {**uncertainty, "log_scale_head": "released"}
    return content


def _not_a_model(folder: Path) -> UserError:
    """Returns the error for a path without model.json."""
    if not folder.exists():
        known = ", ".join(presets.names())
        return UserError(
            f"{folder}: no such file, folder or preset: check the path, or use one of {known}"
        )
    if not folder.is_dir() or any(folder.rglob("saved_model.pb")):
        return UserError(
            f"{folder}: is a file or an export: expected a preset or a run folder, such as the one"
            " it was exported from"
        )
    return UserError(
        f"{folder}: holds no trained model ({MANIFEST} is missing): expected a run folder in which"
        " at least one step has finished, or its subfolder running"
    )


def read_networks(bundle: Path | str, policy: str = "float32") -> Networks:
    """Reads the networks of a bundle.

    Args:
        bundle: its folder; or the name, the folder or the handle of a preset.
        policy: Keras dtype policy to compute in.

    Raises:
        UserError: if the folder holds no bundle, its format is newer, or its weights are damaged or
            belong to another model.
    """
    folder = presets.find(bundle)
    if is_preset(folder):
        return read_preset(folder, policy).networks
    manifest = read_manifest(folder)
    model, uncertainty = manifest.architecture, manifest.uncertainty
    value_range = ValueRange.of(manifest.range)
    mean = _read_network(folder, model, manifest.mean, policy)
    if uncertainty is None:
        return Networks(model.scale, mean, None, policy=policy, value_range=value_range)
    same = uncertainty.weights == manifest.mean.weights
    return Networks(
        model.scale,
        mean,
        mean if same else _read_network(folder, model, uncertainty, policy),
        uncertainty.unit,
        uncertainty.power,
        manifest.calibration,
        policy,
        value_range,
    )


def read_model(bundle: Path | str, policy: str = "float32") -> SRModel:
    """Reads a bundle as a Keras model; arguments and errors as of read_networks."""
    folder = presets.find(bundle)
    if is_preset(folder):
        return read_preset(folder, policy)
    about = read_manifest(folder).model_dump(include={"training", "licence", "limits"})
    return SRModel.from_networks(read_networks(folder, policy), about)


def _read_network(folder: Path, model: ModelConfig, file: NetworkFile, policy: str) -> keras.Model:
    path = folder / file.weights
    if not path.is_file():
        raise UserError(f"{path}: no such file, which {folder / MANIFEST} names: restore it")
    if file.sha256 is not None and sha256(path) != file.sha256:
        raise UserError(
            f"{path}: does not match {folder / MANIFEST} (the checksums differ), because it is"
            " damaged or belongs to another model: restore the file"
        )
    try:
        with precision(policy):
            network = build_network(model, file.log_scale_head)
    except UserError as error:  # of options
        raise UserError(f"{folder / MANIFEST}: {error}") from None
    load_weights(network, path)
    return network
