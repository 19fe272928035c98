"""A run made into a preset: its bundle with weights in float16, and what it reached."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from udl_tf import presets
from udl_tf.bundle import load, read_manifest, write_manifest
from udl_tf.data.sources import folder_datasets
from udl_tf.errors import UserError
from udl_tf.evaluation import evaluate
from udl_tf.files import complete_folder, write_json
from udl_tf.uncertainty_fit import measure
from udl_tf.uncertainty_report import judge


def export_preset(
    run: Path | str,
    name: str,
    data: Sequence[Path | str],
    licence: str,
    limits: str,
    folder: Path = presets.FOLDER,
) -> list[dict[str, Any]]:
    """Writes folder/name: model.json, weights, and metrics.json with `results` of test sets.

    Args:
        run: folder of an ended run, calibrated.
        name: of the preset.
        data: folders of HR images or of pairs that the preset itself is evaluated on.
        licence, limits: of use, in words.
        folder: of the presets.

    Returns:
        For each data set what udl_tf.evaluation.evaluate says of the preset's pictures, and
        "coverage_80", the share of values within the intervals that are to hold 80 %.

    Raises:
        UserError: if the run has not ended or is not calibrated, data are missing, or there is such
            a preset.
    """
    run = Path(run)
    manifest = read_manifest(run)
    config = run / "config.json"  # which an imported network has not
    steps = json.loads(config.read_text())["steps"] if config.exists() else []
    if len(manifest.training.get("steps", [])) < len(steps):
        raise UserError(f"{run}: has not ended: the command that began it goes on")
    if manifest.uncertainty is not None and manifest.calibration is None:
        raise UserError(f"{run}: not calibrated: run python -m udl_tf.calibrate on it before")
    if (folder / name).exists():
        raise UserError(f"{folder / name}: is there already: delete it before")
    sets = folder_datasets(data, manifest.architecture.scale)
    parts = [part for part in (manifest.mean, manifest.uncertainty) if part is not None]
    with complete_folder(folder / name) as made:
        for weights in {part.weights for part in parts}:
            (made / weights).parent.mkdir(exist_ok=True)
            _halve(run / weights, made / weights)
        stated = manifest.model_copy(update={"licence": licence, "limits": limits})
        write_manifest(made, stated)
        model = load(made)
        results = [
            {key: value for key, value in result.items() if key != "per_image"}
            for result in evaluate(model, sets)
        ]
        if model.calibration is not None:
            for result, dataset in zip(results, sets, strict=True):
                samples = measure(model, dataset.pictures, baselines=False)
                found = judge(dataset.name, samples, model.calibration, seen=False)["coverage"]
                result["coverage_80"] = float(np.interp(0.8, found["levels"], found["measured"]))
        write_json(made / "metrics.json", {"results": results})
    return results


def _halve(source: Path, target: Path) -> None:
    """Copies an HDF5 file, its float32 arrays as float16."""
    with h5py.File(source) as old, h5py.File(target, "w") as new:

        def copy(path: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Group):
                made = new.require_group(path)
            else:
                value = item[()]
                half = value.astype(np.float16) if value.dtype == np.float32 else value
                made = new.create_dataset(path, data=half)
            for key, attribute in item.attrs.items():
                made.attrs[key] = attribute

        for key, attribute in old.attrs.items():
            new.attrs[key] = attribute
        old.visititems(copy)
