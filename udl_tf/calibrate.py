"""Makes theta mean what it says, and reports how well it does.

    python -m udl_tf.calibrate --model RUN --data FOLDER [--test FOLDER...]

Fits theta to the errors on --data, images that the network was not trained on, and keeps the fit in
the model. The report says what it is worth, there and on --test.
"""

from pathlib import Path

from udl_tf import cli
from udl_tf.errors import UserError


def main(arguments: list[str] | None = None) -> None:
    parser = cli.make_parser("python -m udl_tf.calibrate", __doc__)
    parser.add_argument("--model", required=True, help="run folder")
    parser.add_argument("--data", required=True, nargs="+", help="folders of held-out HR images")
    parser.add_argument("--test", nargs="+", default=[], help="folders to judge the result on")
    parser.add_argument("--output", help="folder for the report (default: MODEL/calibration)")
    parser.add_argument(
        "--method",
        default="auto",
        choices=["auto", "scale", "affine"],
        help="theta' = c theta, or exp(a + b ln theta); auto: which does better on unseen images",
    )
    parser.add_argument(
        "--conformal",
        metavar="ALPHA,DELTA",
        help="also find intervals that, with probability 1 - DELTA, miss a share ALPHA at most",
    )
    parser.add_argument(
        "--no-baselines",
        action="store_true",
        help="leave out the gradient and the self-ensemble's spread, which take most of the time",
    )
    options = parser.parse_args(arguments)
    conformal = _conformal(options.conformal)

    with cli.quiet_import():
        from tqdm import tqdm

        from udl_tf.bundle import load, read_manifest, write_manifest
        from udl_tf.data.sources import folder_datasets
        from udl_tf.uncertainty_fit import calibrate, measure
        from udl_tf.uncertainty_report import judge, report_text, write_report

    folder = Path(options.model)
    model = load(folder)
    sets = folder_datasets([*options.data, *options.test], model.scale)
    pictures = [picture for dataset in sets for picture in dataset.pictures]
    samples = []
    with tqdm(total=len(pictures), unit="image", disable=None) as bar:
        for dataset in sets:
            samples.append(measure(model, dataset.pictures, not options.no_baselines, bar.update))
    fitted = [s for part in samples[: len(options.data)] for s in part]
    names = " + ".join(f"{d.name} ({len(d.pictures)})" for d in sets[: len(options.data)])
    calibration = calibrate(fitted, names, options.method, conformal)
    results = [judge(names, fitted, calibration, seen=True)]
    for dataset, part in list(zip(sets, samples, strict=True))[len(options.data) :]:
        results.append(judge(dataset.name, part, calibration, seen=False))
    output = Path(options.output or folder / "calibration")
    name = folder.resolve().name
    write_report(output, results, calibration, name)
    write_manifest(folder, read_manifest(folder).model_copy(update={"calibration": calibration}))
    print(report_text(results, calibration, name), end="")
    print(f"\nkept in {folder}; report: {output}")


def _conformal(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        alpha, delta = map(float, text.split(","))
    except ValueError:
        raise UserError(f"--conformal {text}: expected ALPHA,DELTA such as 0.1,0.1") from None
    return alpha, delta


if __name__ == "__main__":
    cli.run(main)
