"""Makes theta mean what it says, and reports how well it does.

    python -m udl_tf.calibrate --model RUN [--data FOLDER...] [--test FOLDER...]

Fits theta to the errors on --data, images that the network was not trained on, and keeps the fit in
the model. The report says what it is worth, there and on --test. Without --data, the calibration
that the model has is judged on --test.
"""

from pathlib import Path

from udl_tf import cli, presets
from udl_tf.errors import UserError


def main(arguments: list[str] | None = None) -> None:
    parser = cli.make_parser("python -m udl_tf.calibrate", __doc__)
    parser.add_argument("--model", required=True, type=presets.find, help=cli.BUNDLE_HELP)
    parser.add_argument("--data", nargs="+", default=[], help="folders of held-out HR images")
    parser.add_argument("--test", nargs="+", default=[], help="folders to judge the result on")
    parser.add_argument(
        "--output",
        help="folder for the report (default: MODEL/calibration, without --data MODEL/judged)",
    )
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
    if not (options.data or options.test):
        raise UserError("nothing to do: give --data, folders to fit on, or --test, to judge on")
    if conformal and not options.data:
        raise UserError("--conformal finds a factor on --data: give that too")

    with cli.quiet():
        from tqdm import tqdm

        from udl_tf.bundle import load, read_manifest, write_manifest
        from udl_tf.calibration import risk_bound
        from udl_tf.data.sources import folder_datasets
        from udl_tf.uncertainty_fit import calibrate, measure
        from udl_tf.uncertainty_report import judge, report_text, write_report

    folder = options.model
    if presets.contains(folder) and (options.data or not options.output):
        raise UserError(
            f"{folder.name}: a preset stays as it is: give --test and --output, to judge it, or"
            f" calibrate a copy of {folder}"
        )
    model = load(folder)
    if not options.data and model.calibration is None:
        raise UserError(f"{folder}: not calibrated yet: give --data, a folder of held-out images")
    sets = folder_datasets([*options.data, *options.test], model.scale)
    if conformal:  # before the work; fewer of them may be distinct
        risk_bound(sum(len(d.pictures) for d in sets[: len(options.data)]), *conformal)
    with tqdm(total=sum(len(d.pictures) for d in sets), unit="image", disable=None) as bar:
        samples = [measure(model, d.pictures, not options.no_baselines, bar.update) for d in sets]
    count, name, results = len(options.data), folder.resolve().name, []
    calibration = model.calibration
    if options.data:
        fitted = [sample for part in samples[:count] for sample in part]
        data = " + ".join(dataset.name for dataset in sets[:count])
        text = f"{data} ({len(fitted)} images)"
        calibration = calibrate(fitted, text, options.method, conformal)
        results.append(judge(data, fitted, calibration, seen=True))
        kept = read_manifest(folder).model_copy(update={"calibration": calibration})
        write_manifest(folder, kept)
    assert calibration is not None
    for dataset, part in list(zip(sets, samples, strict=True))[count:]:
        results.append(judge(dataset.name, part, calibration, seen=False))
    output = Path(options.output or folder / ("calibration" if options.data else "judged"))
    write_report(output, results, calibration, name)
    print(report_text(results, calibration, name))
    print(f"report: {output}" + (f"; the fit is kept in {folder}" if options.data else ""))


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
