"""What a trained model is on disk: a folder with `model.json` and the weight files that this names.

    {"format": 3,
     "architecture": {"name": "edsr_s", "scale": 4, "options": {...}},   arguments of build_model
     "range": [0, 255],                                                  of lr and sr, RGB
     "mean": {"weights": "weights/step2-udl.weights.h5", "uncertainty": false, "sha256": "..."},
     "uncertainty": {"weights": "weights/step1-esu.weights.h5", "unit": 1.0, "power": 1.0,
                     "sha256": "..."} or null,
     "calibration": {"method": "scale", "a": [...], "b": [...], ...} or null,
     "training": {...},                                                  what the steps were
     "licence": "...", "limits": "..."}                                  of use, in words

`mean` makes the picture: "uncertainty" tells whether its file has an s head. `uncertainty` makes
theta = unit * exp(log_scale / power), in grey levels, which `calibration`
(udl_tf.calibration.Calibration) corrects. "sha256" is the weight file's. Run folders and presets
are such folders. Format 1 had neither calibration nor sha256, format 2 no licence and limits; both
are read too.
"""

import json
import warnings
from pathlib import Path
from typing import Any

import keras
from pydantic import Field, ValidationError

from udl_tf import presets
from udl_tf.calibration.record import Calibration
from udl_tf.config import ModelConfig, Section
from udl_tf.distribute import precision
from udl_tf.errors import UserError
from udl_tf.files import complete_file, sha256, write_json
from udl_tf.models import build_model
from udl_tf.super_resolver import SuperResolver

FORMAT = 3
MANIFEST = "model.json"


class MeanFile(Section):
    """The network that makes the picture; `uncertainty` tells whether its file has an s head."""

    weights: str
    uncertainty: bool
    sha256: str | None = None


class UncertaintyFile(Section):
    """The network that makes theta = unit * exp(log_scale / power), in grey levels."""

    weights: str
    unit: float
    power: float
    sha256: str | None = None


class Manifest(Section):
    """The content of model.json."""

    format: int = FORMAT
    architecture: ModelConfig
    range: list[int] = Field(default=[0, 255])
    mean: MeanFile
    uncertainty: UncertaintyFile | None
    calibration: Calibration | None = None
    training: dict[str, Any]
    licence: str = "not stated"
    limits: str = "not stated"


def build_network(model: ModelConfig, uncertainty: bool) -> keras.Model:
    """The config's network, with or without the s head."""
    return build_model(model.name, model.scale, **{**model.options, "uncertainty": uncertainty})


def save_weights(network: keras.Model, path: Path) -> None:
    """Writes a network's weights (Keras' .weights.h5), complete or not at all."""
    with complete_file(path) as temporary:
        network.save_weights(temporary)


def load_weights(network: keras.Model, path: Path) -> None:
    """Reads what save_weights wrote.

    Raises:
        UserError: if the file is missing, damaged or of another network.
    """
    try:
        with warnings.catch_warnings():
            # Keras only warns of layers that the file lacks, and leaves them as they were.
            warnings.simplefilter("error", UserWarning)
            network.load_weights(path)
    except (OSError, ValueError, KeyError, IndexError, UserWarning) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{path}: no weights of this {network.name}: {reason}") from None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes model.json with the checksums of the weight files, which must be there already."""

    def signed(part):
        return part and part.model_copy(update={"sha256": sha256(folder / part.weights)})

    parts = {"mean": signed(manifest.mean), "uncertainty": signed(manifest.uncertainty)}
    write_json(folder / MANIFEST, manifest.model_copy(update=parts).model_dump())


def read_manifest(folder: Path | str) -> Manifest:
    """Reads model.json.

    Raises:
        UserError: if there is none, it is damaged or of a newer format.
    """
    folder = Path(folder)
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except OSError:
        if not folder.exists():
            raise UserError(
                f"{folder}: no such file or folder, and no preset: check the path, or take one of"
                f" {', '.join(presets.names())}"
            ) from None
        if not folder.is_dir() or any(folder.rglob("saved_model.pb")):
            raise UserError(f"{folder}: expected a run folder, of which exports are made") from None
        raise UserError(
            f"{folder}: holds no trained model ({MANIFEST} is missing); expected a run folder in"
            " which at least one step has ended"
        ) from None
    except ValueError as error:
        raise UserError(f"{folder / MANIFEST}: not valid JSON ({error})") from None
    if not isinstance(content, dict) or content.get("format") not in (1, 2, FORMAT):
        found = content.get("format") if isinstance(content, dict) else content
        raise UserError(
            f"{folder / MANIFEST}: format {found!r}; this version reads formats up to {FORMAT}:"
            " update udl_tf"
        )
    try:
        return Manifest.model_validate({**content, "format": FORMAT})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise UserError(f"{folder / MANIFEST}: damaged at {key}: {first['msg']}") from None


def load(folder: Path | str, policy: str = "float32") -> SuperResolver:
    """Loads a trained model.

    Args:
        folder: a run folder.
        policy: Keras policy to compute in.

    Raises:
        UserError: if there is no trained model, it is of a newer format, or its weights are damaged
            or another model's.
    """
    manifest = read_manifest(folder)
    model, uncertainty = manifest.architecture, manifest.uncertainty
    mean = _load_network(Path(folder), model, manifest.mean, manifest.mean.uncertainty, policy)
    if uncertainty is None:
        return SuperResolver(model.scale, mean, None)
    same = uncertainty.weights == manifest.mean.weights
    return SuperResolver(
        model.scale,
        mean,
        mean if same else _load_network(Path(folder), model, uncertainty, True, policy),
        uncertainty.unit,
        uncertainty.power,
        manifest.calibration,
    )


def _load_network(
    folder: Path, model: ModelConfig, file: MeanFile | UncertaintyFile, with_s: bool, policy: str
) -> keras.Model:
    path = folder / file.weights
    if file.sha256 is not None and path.exists() and sha256(path) != file.sha256:
        raise UserError(
            f"{path}: not the weights that {folder / MANIFEST} was written for (their checksums"
            " differ): damaged or another model's, bring back the right file"
        )
    with precision(policy):
        network = build_network(model, with_s)
    load_weights(network, path)
    return network
