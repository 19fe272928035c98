"""Turns a run folder into a preset of the package, with weights in float16.

python tools/make_preset.py --model RUN --name light_x4 --data benchmark/Set5 benchmark/Set14
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from udl_tf._support import command_line
from udl_tf._support.json_files import read_json
from udl_tf.data.pixels import Pixels
from udl_tf.data.sources import degraded, folder_datasets
from udl_tf.errors import UserError
from udl_tf.evaluation import evaluate
from udl_tf.evaluation.protocol import totals
from udl_tf.evaluation.theta_measure import with_coverage
from udl_tf.hub import presets
from udl_tf.saved.bundle import read_manifest, read_networks
from udl_tf.tasks import SRModel
from udl_tf.tasks.preset_card import results_text
from udl_tf.tasks.preset_folder import write_preset

_LICENCE = (
    "the weights are under Apache-2.0, as the package; most of the images they were trained on are"
    " published for research only"
)
_LIMITS = (
    "for images that were shrunk by antialiased bicubic interpolation and {state}; on other images"
    " theta may be far too small or too large; small text and faces may be reconstructed wrongly:"
    " not for evidence or diagnosis"
)
_CLEAN, _DEGRADED = (
    "have neither noise nor JPEG artefacts",
    "then degraded like the training images",
)


def make_preset(
    run: Path | str,
    name: str,
    data: Sequence[Path | str],
    licence: str,
    limits: str | None,
    folder: Path = presets.FOLDER,
    degrade: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Writes a preset (udl_tf.tasks.preset_folder) with its results on test sets.

    Args:
        run: folder of a finished and calibrated run.
        name: name of the preset.
        data: folders of test sets, with HR images or pairs.
        licence: licence of use, in words.
        limits: limits of use, in words; None: as from limits_of.
        folder: folder of all presets.
        degrade: the test sets are evaluated as they are, then with each of these degradations of
            their LR images, such as "jpeg:75".

    Returns:
        Per test set, the result of udl_tf.evaluation.evaluate, and "coverage_80", the share of
        values that the 80 % intervals cover.

    Raises:
        UserError: if the run has not finished or is not calibrated, data are missing, or the preset
            already exists.
    """
    run = Path(run)
    manifest = read_manifest(run)
    config = run / "config.json"  # absent in imported bundles
    steps = read_json(config).get("steps", []) if config.exists() else []
    trained = manifest.training.get("steps", [])
    if len(trained) < len(steps) or any("updates_done" in step for step in trained):
        raise UserError(f"{run}: has not finished: run the same command again to resume")
    if manifest.uncertainty is not None and manifest.calibration is None:
        raise UserError(f"{run}: not calibrated: run udl-tf calibrate on it first")
    if (folder / name).exists():
        raise UserError(f"{folder / name}: already exists: delete it first")
    limits = limits_of(manifest.training) if limits is None else limits
    about = {"training": manifest.training, "licence": licence, "limits": limits}
    model = SRModel.from_networks(read_networks(run), about)
    found = folder_datasets(data, model.scale, Pixels.seen_by(model))
    sets = [degraded(dataset, text) for text in (None, *degrade) for dataset in found]
    for weight in model.weights:
        weight.assign(weight.numpy().astype(np.float16))
    results = with_coverage(totals(evaluate(model, sets)), model.upscaler, sets)
    write_preset(model, folder / name, results, half=True)
    return results


def limits_of(training: dict[str, Any]) -> str:
    """Returns the limits of use of a network, in words, from the record of its training."""
    degraded = training.get("data", {}).get("degradations")
    return _LIMITS.format(state=_DEGRADED if degraded else _CLEAN)


def main(arguments: list[str] | None = None) -> None:
    parser = command_line.make_parser("python tools/make_preset.py", __doc__)
    parser.add_argument("--model", required=True, help="folder of a finished and calibrated run")
    parser.add_argument("--name", required=True, help="name of the preset")
    parser.add_argument("--data", required=True, nargs="+", help="folders of test sets")
    parser.add_argument(
        "--degrade",
        nargs="+",
        default=[],
        metavar="D",
        help="degradations of the LR images, such as jpeg:75, with each of which the test sets are"
        " evaluated too",
    )
    parser.add_argument("--licence", default=_LICENCE, help="licence of use, in words")
    parser.add_argument("--limits", help="limits of use, in words (default: by the training data)")
    parser.add_argument(
        "--output",
        type=Path,
        default=presets.FOLDER,
        help="folder of all presets (default: that of the package)",
    )
    options = parser.parse_args(arguments)

    results = make_preset(
        options.model,
        options.name,
        options.data,
        options.licence,
        options.limits,
        options.output,
        options.degrade,
    )
    print(f"{results_text(results)}\nwritten: {options.output / options.name}")


if __name__ == "__main__":
    command_line.run(main)
