"""Measures PSNR-Y and SSIM-Y of a trained model on test sets, next to bicubic interpolation.

udl-tf evaluate --model light_x4 --data FOLDER [FOLDER...] [--degrade noise:5+jpeg:75]
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from udl_tf._support import command_line
from udl_tf._support.backend import check_backend
from udl_tf._support.files import write_text
from udl_tf._support.json_files import read_json, write_json
from udl_tf._support.stderr import quiet
from udl_tf.config.run import check_bands
from udl_tf.errors import UserError
from udl_tf.hub import presets

if TYPE_CHECKING:
    from udl_tf.data.sources import Dataset
    from udl_tf.inference import Upscaler

_RESULTS = "results.json"
_WAYS = ("consistent", "self_ensemble")  # of computing results


def main(arguments: list[str] | None = None) -> None:
    options = _parse(arguments)
    check_backend("tensorflow", "jax")
    with quiet():
        from udl_tf.data.sources import degraded
        from udl_tf.evaluation import evaluate, results_table
        from udl_tf.saved.bundle import chosen_degradations
        from udl_tf.saved.loading import load_upscaler, name_of

        model = load_upscaler(options.model, options.precision)
    if options.precision != "float32":
        from udl_tf.evaluation.precision import precision_note

        print(precision_note(options.model, model))
    check_bands(options.bands, model.channels)
    found = _datasets(options.data, model)
    operations = chosen_degradations(options.degrade, options.model)
    datasets = [degraded(dataset, operations) for dataset in found]
    names = [name_of(model) for model in (options.model, *options.beside)]
    beside = _load_beside(options, model, names)
    output = Path(options.output or _default_output(options))
    if options.output is None:
        _check_earlier(output, datasets)
    figures = output / "figures", options.figures
    ways = {way: getattr(options, way) for way in _WAYS}
    name = ", ".join([names[0], *(way.replace("_", "-") for way in _WAYS if ways[way])])
    results = evaluate(model, datasets, *figures, beside, name, options.bands, **ways)
    table = results_table(results, name)
    write_json(output / _RESULTS, {"results": results})
    write_text(output / "results.md", table)
    print(table, end="")
    print(f"written: {output}")


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = command_line.make_parser("udl-tf evaluate", __doc__)
    parser.add_argument("--model", required=True, help=command_line.MODEL_HELP)
    parser.add_argument(
        "--data",
        required=True,
        nargs="+",
        help="folders of HR images, or of HR and LR pairs; folders that contain only LR images are"
        " skipped",
    )
    parser.add_argument(
        "--output",
        help="folder for the results (default: MODEL/evaluation; presets and models on a server:"
        " evaluation/NAME; exports: MODEL_evaluation; RUN/running: RUN/evaluation_running; with"
        " --consistent, --self-ensemble and --degrade: evaluation_consistent,"
        " evaluation_self_ensemble, evaluation_OPERATIONS)",
    )
    parser.add_argument(
        "--beside",
        nargs="+",
        default=[],
        metavar="MODEL",
        help="other models of the same scale to compare with, in the table and the figures",
    )
    parser.add_argument(
        "--consistent",
        action="store_true",
        help="evaluate results of upscale --consistent",
    )
    parser.add_argument(
        "--self-ensemble",
        action="store_true",
        help="evaluate results of upscale --self-ensemble, which take eight times as long",
    )
    parser.add_argument(
        "--figures",
        type=int,
        default=2,
        help="comparison figures per test set (default: %(default)s)",
    )
    parser.add_argument(
        "--bands",
        nargs=3,
        type=int,
        default=(1, 2, 3),
        metavar="N",
        help="channels, counted from 1, that figures show as red, green and blue if there are more"
        " than three (default: 1 2 3)",
    )
    command_line.add_degrade(parser)
    command_line.add_precision(parser)
    return parser.parse_args(arguments)


def _datasets(folders: list[str], model: "Upscaler") -> "list[Dataset]":
    from udl_tf.data.pixels import Pixels
    from udl_tf.data.sources import folder_datasets, holds_lr_only

    skipped = [folder for folder in folders if holds_lr_only(folder)]
    for folder in skipped:
        print(f"skipped: {folder}, which contains only LR images", file=sys.stderr)
    left = [folder for folder in folders if folder not in skipped]
    # If none is left, this says what is expected.
    return folder_datasets(left or folders, model.scale, Pixels.seen_by(model))


def _load_beside(
    options: argparse.Namespace, model: "Upscaler", names: list[str]
) -> "dict[str, Upscaler]":
    """Loads the models to compare with, by name; `names` starts with that of the first model."""
    from udl_tf.saved.loading import load_upscaler

    for name in names:
        if names.count(name) > 1:
            raise UserError(
                f"--beside: two models are named {name}: rename the folder of one of them"
            )
    beside = {
        name: load_upscaler(other) for name, other in zip(names[1:], options.beside, strict=True)
    }
    for name, other in beside.items():
        if other.scale != model.scale:
            raise UserError(
                f"--beside {name}: is x{other.scale}, but {options.model} is x{model.scale}: only"
                " models of the same scale can be compared"
            )
        if (other.channels, other.value_range) != (model.channels, model.value_range):
            raise UserError(
                f"--beside {name}: has other channels or another value range than {options.model}:"
                " only models that have both in common can be compared"
            )
    return beside


def _default_output(options: argparse.Namespace) -> Path:
    from udl_tf.saved.bundle import MANIFEST
    from udl_tf.saved.loading import name_of
    from udl_tf.training.run_folder import is_running

    name = "_".join(["evaluation", *(way for way in _WAYS if getattr(options, way))])
    name = command_line.degraded_name(name, options.degrade)
    if presets.contains(options.model) or not presets.is_path(options.model):
        return Path(name) / name_of(options.model)
    model = Path(options.model)
    if is_running(model):  # which is deleted when its step has finished
        return model.parent / f"{name}_{model.name}"
    return model / name if (model / MANIFEST).exists() else Path(f"{model}_{name}")


def _check_earlier(output: Path, datasets: "list[Dataset]") -> None:
    """Raises UserError if a folder holds results on other images, which would be replaced."""
    file = output / _RESULTS
    if not file.exists():
        return
    results = read_json(file, "remove it").get("results", [])
    earlier = {row["dataset"]: [image["image"] for image in row["per_image"]] for row in results}
    if earlier != {data.name: [source.title for source in data.sources] for data in datasets}:
        sets = ", ".join(f"{name} ({len(images)} images)" for name, images in earlier.items())
        raise UserError(
            f"{output}: holds results on other images, {sets}: choose another output, or remove it",
            argument="output",
        )


if __name__ == "__main__":
    command_line.run(main)
