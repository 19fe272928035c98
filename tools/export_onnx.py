"""Exports a trained model as an ONNX file, checked beside the Keras networks.

    python tools/export_onnx.py --model RUN --output model.onnx

float32 and float16 may differ by 0.001 and 1 grey level; beyond, nothing is written.
"""

from pathlib import Path

from udl_tf import cli


def main(arguments: list[str] | None = None) -> None:
    parser = cli.make_export_parser("python tools/export_onnx.py", __doc__, ".onnx file")
    parser.add_argument("--type", default="float32", choices=["float32", "float16"])
    parser.add_argument("--opset", type=int, default=18, choices=[17, 18], help="default: 18")
    options = parser.parse_args(arguments)

    with cli.quiet():
        from udl_tf.export.onnx import export_onnx

    card = export_onnx(
        options.model,
        options.output,
        options.type,
        options.opset,
        options.uncertainty,
        options.images,
        options.licence,
    )
    print(card.summary())
    print(f"written: {options.output} ({Path(options.output).stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    cli.run(main)
