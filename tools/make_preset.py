"""Makes a preset of a run: the package's own copy of it, with weights in float16.

python tools/make_preset.py --model RUN --name edsr_s_x4 --data benchmark/Set5 benchmark/Set14
"""

from pathlib import Path

from udl_tf import cli, presets

_LICENCE = (
    "the weights are under Apache-2.0, as the package; most of the images they were trained on are"
    " published for research only"
)
_LIMITS = (
    "for pictures shrunk by antialiased bicubic interpolation, without noise and JPEG artefacts;"
    " theta tells how large the error is on such pictures, and is too small on others; small text"
    " and faces may be drawn wrongly: not for evidence or diagnosis"
)


def main(arguments: list[str] | None = None) -> None:
    parser = cli.make_parser("python tools/make_preset.py", __doc__)
    parser.add_argument("--model", required=True, help="run folder, calibrated")
    parser.add_argument("--name", required=True, help="of the preset")
    parser.add_argument("--data", required=True, nargs="+", help="folders it is evaluated on")
    parser.add_argument("--licence", default=_LICENCE, help="of use, in words")
    parser.add_argument("--limits", default=_LIMITS, help="of use, in words")
    parser.add_argument(
        "--output", type=Path, default=presets.FOLDER, help="folder of presets (default: ours)"
    )
    options = parser.parse_args(arguments)

    with cli.quiet():
        from udl_tf.evaluation import results_table
        from udl_tf.export.preset import export_preset

    results = export_preset(
        options.model,
        options.name,
        options.data,
        options.licence,
        options.limits,
        options.output,
    )
    print(results_table(results, options.name), end="")
    print(f"written: {options.output / options.name}")


if __name__ == "__main__":
    cli.run(main)
