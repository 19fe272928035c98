"""Presets on disk: a model as a folder, in the form of KerasHub.

config.json        the serialized SRModel: network, calibration, and what is known of its training
model.weights.h5   its weights
metadata.json      versions, number of weights, date, sha256 of the weights
README.md          model card
metrics.json       results on test sets, if there are any

A finished run has such a folder too, RUN/preset.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras

from udl_tf import __version__
from udl_tf._support.files import complete_folder, sha256, write_text
from udl_tf._support.json_files import read_json, write_json
from udl_tf.config import LogScaleHead, ModelConfig
from udl_tf.errors import UserError, first_line
from udl_tf.hub.handles import CARD, CONFIG, METADATA, RESULTS, WEIGHTS, check_weights
from udl_tf.imaging.value_range import GREY_LEVELS, ValueRange
from udl_tf.models import BACKBONES, resolved_options
from udl_tf.models.weight_files import load_weights, save_weights
from udl_tf.tasks.preset_card import card_text
from udl_tf.uncertainty.record import Calibration

if TYPE_CHECKING:
    from udl_tf.tasks.sr_model import SRModel

IN_RUN = "preset"
"""Folder of the preset of a run, in its run folder."""

_CLASS = "udl_tf>SRModel"


def is_preset(folder: Path) -> bool:
    """Returns whether a folder contains a preset."""
    return (folder / METADATA).is_file() and (folder / CONFIG).is_file()


def read_config(folder: Path) -> dict[str, Any]:
    """Reads the arguments of SRModel.from_config.

    Raises:
        UserError: if the folder contains no preset, or that of another class.
    """
    check_weights(folder, folder)
    content = read_json(folder / CONFIG, "restore the file")
    if content.get("registered_name") != _CLASS or not isinstance(content.get("config"), dict):
        raise UserError(
            f"{folder / CONFIG}: describes {content.get('registered_name')!r}, expected {_CLASS!r}:"
            " use a preset of udl_tf"
        )
    return content["config"]


def head_of(network: dict[str, Any]) -> LogScaleHead | None:
    """Returns the kind of the s head of a serialized network; None: it has none."""
    config = network["config"]
    head = config.get("log_scale_head", "released")
    return head if config.get("uncertainty", True) else None


def architecture_of(network: dict[str, Any]) -> ModelConfig:
    """Returns the arguments of build_model for a serialized network.

    Raises:
        UserError: if the network's class does not return them in get_config.
    """
    options = dict(network["config"])
    if "scale" not in options:
        raise UserError(
            f"{network['class_name']} cannot be a preset: add get_config, which returns its"
            " constructor's arguments"
        )
    name, scale = options.pop("name"), options.pop("scale")
    channels = options.pop("channels", 3)
    head = options.pop("log_scale_head", "light")
    defaults = resolved_options(name, {}) if name in BACKBONES else {}
    for key in ("uncertainty", "dtype", "trainable"):
        options.pop(key, None)
    options = {key: v for key, v in options.items() if key not in defaults or v != defaults[key]}
    return ModelConfig(
        name=name, scale=scale, channels=channels, options=options, log_scale_head=head
    )


def read_preset(folder: Path, policy: str | None = None) -> "SRModel":
    """Reads the model of a preset.

    Args:
        folder: the folder of a preset, or a run folder that contains one.
        policy: Keras dtype policy to compute in; None: as saved.

    Raises:
        UserError: if the folder contains no preset, or it is damaged, or the policy is unknown.
    """
    folder = folder / IN_RUN if is_preset(folder / IN_RUN) else folder
    config = read_config(folder)
    if policy is not None:
        try:
            keras.dtype_policies.get(policy)
        except ValueError as error:
            raise UserError(f"dtype {policy!r}: {first_line(error)}") from None
        config = {**config, "policy": policy}
    try:
        model = keras.saving.deserialize_keras_object(
            {"registered_name": _CLASS, "class_name": "SRModel", "module": None, "config": config}
        )
    except (TypeError, ValueError, KeyError) as error:
        raise UserError(f"{folder / CONFIG}: {first_line(error)}: restore the file") from error
    load_weights(model, folder / WEIGHTS)
    return model


def write_preset(
    model: "SRModel",
    folder: Path,
    results: list[dict[str, Any]] | None = None,
    half: bool = False,
) -> None:
    """Writes a model, complete or not at all.

    Args:
        model: without branches.
        folder: a new one, or that of a preset, which is replaced.
        results: on test sets; None: none.
        half: whether to store the weights in float16.

    Raises:
        UserError: if the folder exists and is not a preset, or the network's class has no
            get_config.
    """
    if folder.exists() and not is_preset(folder):
        raise UserError(f"{folder}: exists and is not a preset: choose a new folder")
    config = model.get_config()
    architecture_of(config["backbone"])  # fails before anything is written
    with complete_folder(folder, replace=True) as new:
        serialized = {"module": None, "class_name": "SRModel", "registered_name": _CLASS}
        write_json(new / CONFIG, {**serialized, "config": config})
        save_weights(model, new / WEIGHTS, half)
        if results is not None:
            write_json(new / RESULTS, {"results": results})
        write_metadata(new, model.count_params())
        write_card(new, _name_of(folder))


def change_calibration(folder: Path, calibration: Calibration) -> None:
    """Replaces the calibration of a preset in its config and its model card.

    If theta changes, the results no longer state the coverage, which was that of the earlier one.
    """
    content = read_json(folder / CONFIG, "restore the file")
    theta = content["config"]["theta"]
    before, theta["calibration"] = theta["calibration"], calibration.model_dump()
    write_json(folder / CONFIG, content)
    same = before is not None and calibration == Calibration.model_validate(
        before | {"inputs": calibration.inputs}
    )
    if not same and (file := folder / RESULTS).is_file():
        results = read_json(file)["results"]
        for result in results:
            result.pop("coverage_80", None)
        write_json(file, {"results": results})
    write_card(folder, _name_of(folder))


def _name_of(folder: Path) -> str:
    """Returns the name of the preset in a folder; in a run folder, that of the run."""
    folder = folder.resolve()
    return folder.parent.name if folder.name == IN_RUN else folder.name


def write_card(folder: Path, name: str) -> None:
    """Writes the model card of the preset of this name in a folder."""
    config, file = read_json(folder / CONFIG)["config"], folder / RESULTS
    theta = config["theta"]
    calibration = theta and theta["calibration"]
    text = card_text(
        name,
        architecture_of(config["backbone"]),
        calibration and Calibration.model_validate(calibration),
        config["about"],
        read_json(file)["results"] if file.is_file() else [],
        ValueRange.of(config.get("value_range", GREY_LEVELS.ranges)),
    )
    write_text(folder / CARD, text)


def write_metadata(folder: Path, parameters: int) -> None:
    """Writes metadata.json for the weights in a folder."""
    content = {
        "keras_version": keras.__version__,
        "udl_tf_version": __version__,
        "parameter_count": parameters,
        "date_saved": datetime.now(UTC).strftime("%Y-%m-%d"),
        "sha256": sha256(folder / WEIGHTS),
    }
    write_json(folder / METADATA, content)
