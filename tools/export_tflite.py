"""Exports a trained model as a TFLite file, checked beside the Keras networks.

    python tools/export_tflite.py --model RUN --output model.tflite

float32 and float16 may differ by 0.001 and 1 grey level, int8 may lose 0.3 dB of PSNR-Y on real
patches; beyond, nothing is written.
"""

from pathlib import Path

from udl_tf import cli


def main(arguments: list[str] | None = None) -> None:
    parser = cli.make_export_parser("python tools/export_tflite.py", __doc__, ".tflite file")
    parser.add_argument("--type", default="float32", choices=["float32", "float16", "int8"])
    parser.add_argument(
        "--tile",
        type=int,
        metavar="N",
        help="inputs of NxN pixels only, as GPU and NPU delegates want them (default: any size)",
    )
    parser.add_argument(
        "--margin",
        type=int,
        metavar="M",
        help="overlap of tiles, pixels (default: what makes no seams, for DPDNN 48)",
    )
    options = parser.parse_args(arguments)
    cli.check_positive(options, "tile", "margin")

    with cli.quiet():
        from udl_tf.export.tflite import export_tflite

    card = export_tflite(
        options.model,
        options.output,
        options.type,
        options.tile,
        options.margin,
        options.uncertainty,
        options.images,
        options.licence,
    )
    print(card.summary())
    print(f"written: {options.output} ({Path(options.output).stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    cli.run(main)
