"""PSNR-Y and SSIM-Y of a trained model by the field's protocol, beside bicubic interpolation.

python -m udl_tf.evaluate --model edsr_s_x4 --data FOLDER [FOLDER...]
"""

import sys
from pathlib import Path

from udl_tf import cli, presets
from udl_tf.errors import UserError
from udl_tf.files import write_json, write_text


def main(arguments: list[str] | None = None) -> None:
    parser = cli.make_parser("python -m udl_tf.evaluate", __doc__)
    parser.add_argument("--model", required=True, help=cli.MODEL_HELP)
    parser.add_argument(
        "--data",
        required=True,
        nargs="+",
        help="folders of HR images or of pairs; those of LR images only are left out",
    )
    parser.add_argument(
        "--output",
        help="folder for the results (default: MODEL/evaluation; of a preset, evaluation/MODEL;"
        " MODEL_evaluation beside an export)",
    )
    parser.add_argument(
        "--beside",
        nargs="+",
        default=[],
        metavar="MODEL",
        help="other models of the same scale, for the table and the figures",
    )
    parser.add_argument("--figures", type=int, default=2, help="figures a data set (default: 2)")
    parser.add_argument("--fast", action="store_true", help=cli.FAST_HELP)
    options = parser.parse_args(arguments)

    with cli.quiet():
        from udl_tf.data.sources import folder_datasets, holds_lr_only
        from udl_tf.evaluation import evaluate, results_table
        from udl_tf.fast import load_fast
        from udl_tf.loading import load

    model = load_fast(options.model, print) if options.fast else load(options.model)
    left_out = [folder for folder in options.data if holds_lr_only(folder)]
    for folder in left_out:
        print(f"left out: {folder}, which holds LR images only", file=sys.stderr)
    folders = [folder for folder in options.data if folder not in left_out]
    datasets = folder_datasets(folders or options.data, model.scale)
    path = presets.find(options.model)
    names = [presets.find(other).resolve().name for other in (options.model, *options.beside)]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"--beside: two models are named {name}: rename the folder of one")
    beside = {name: load(other) for name, other in zip(names[1:], options.beside, strict=True)}
    for name, other in beside.items():
        if other.scale != model.scale:
            raise UserError(
                f"--beside {name}: makes x{other.scale}, and {options.model} x{model.scale}: only"
                " models of one scale can be compared"
            )
    output = Path(options.output or _usual_output(path))
    results = evaluate(model, datasets, output / "figures", options.figures, beside, names[0])
    table = results_table(results, names[0])
    write_json(output / "results.json", {"results": results})
    write_text(output / "results.md", table)
    print(table, end="")
    print(f"written: {output}")


def _usual_output(model: Path) -> Path:
    from udl_tf.bundle import MANIFEST

    if presets.contains(model):
        return Path("evaluation") / model.name
    return model / "evaluation" if (model / MANIFEST).exists() else Path(f"{model}_evaluation")


if __name__ == "__main__":
    cli.run(main)
