"""Exports a trained model, and compares the export with the Keras networks.

    udl-tf export savedmodel --model RUN --output models/NAME     for TensorFlow Serving
    udl-tf export tflite --model RUN --output model.tflite        for phones
    udl-tf export onnx --model RUN --output model.onnx            for ONNX Runtime

A float32 export may differ by 0.001 grey levels (or 0.1 % of theta), a float16 export by 1 (or 10 %
of theta), and an int8 export may lose 0.3 dB of PSNR-Y on real patches; an export that exceeds its
bound is not written.
"""

import argparse
from pathlib import Path

from udl_tf._support import command_line
from udl_tf._support.backend import check_backend
from udl_tf._support.stderr import quiet


def main(arguments: list[str] | None = None) -> None:
    parser = command_line.make_parser("udl-tf export", __doc__)
    formats = parser.add_subparsers(dest="format", required=True, metavar="FORMAT")
    _add_savedmodel(formats)
    _add_tflite(formats)
    _add_onnx(formats)
    options = parser.parse_args(arguments)
    for name in ("version", "max_pixels", "memory", "tile", "margin"):
        if hasattr(options, name):
            command_line.check_positive(options, name)
    check_backend("tensorflow")
    export = {"savedmodel": _savedmodel, "tflite": _tflite, "onnx": _onnx}[options.format]
    export(options)


def _add_format(formats, name: str, text: str, output: str) -> argparse.ArgumentParser:
    """Adds a format with the options that all formats share."""
    parser = formats.add_parser(name, help=text, description=text)
    parser.add_argument("--model", required=True, help=command_line.RUN_HELP)
    parser.add_argument("--output", required=True, type=Path, help=output)
    parser.add_argument(
        "--no-uncertainty",
        dest="uncertainty",
        action="store_false",
        help="export the image only, which saves 5 to 29 %% of the time, and two thirds or more if"
        " theta has a network of its own",
    )
    parser.add_argument(
        "--images",
        type=Path,
        help="folder of HR images for comparing the export with the Keras model, and for setting"
        " the int8 ranges: of the model's channels, ideally similar to those to be upscaled"
        " (default: bundled images)",
    )
    parser.add_argument(
        "--licence",
        help="licence of the weights, for the model card (default: as the model states)",
    )
    return parser


def _add_precision(parser: argparse.ArgumentParser, choices: list[str]) -> None:
    parser.add_argument(
        "--precision",
        "--type",
        default="float32",
        choices=choices,
        help="precision of weights and arithmetic (default: %(default)s)",
    )


def _add_savedmodel(formats) -> None:
    parser = _add_format(
        formats,
        "savedmodel",
        "SavedModel for TensorFlow Serving: writes OUTPUT/1, then OUTPUT/2, ...",
        "folder of the model, with a subfolder per version",
    )
    parser.add_argument(
        "--version",
        type=int,
        help="number of the version (default: one more than the highest so far)",
    )
    parser.add_argument(
        "--self-ensemble",
        action="store_true",
        help="average the results of the eight flips and rotations: slightly better, eight times"
        " slower",
    )
    parser.add_argument(
        "--max-pixels",
        type=int,
        default=2048**2,
        help="refuse larger inputs (height times width; default: 2048 x 2048)",
    )
    parser.add_argument(
        "--image-type",
        choices=["uint8", "float32"],
        help="dtype of the input image, with values 0..255 (default: uint8, or float32 for a model"
        " with a value range of its own)",
    )
    parser.add_argument(
        "--theta-type",
        default="float32",
        choices=["float32", "float16"],
        help="dtype of theta; float16 is half as large but needs gRPC (default: float32)",
    )
    parser.add_argument(
        "--memory",
        type=float,
        metavar="GB",
        help="working memory of the server, besides the results (default: 1; DPDNN: 3)",
    )
    parser.add_argument(
        "--no-warmup",
        dest="warmup",
        action="store_false",
        help="omit the warm-up requests, which need tensorflow-serving-api",
    )


def _savedmodel(options: argparse.Namespace) -> None:
    with quiet():
        from udl_tf.export import export_savedmodel

    folder, card = export_savedmodel(
        options.model,
        options.output,
        options.version,
        options.uncertainty,
        options.self_ensemble,
        options.max_pixels,
        options.image_type,
        options.theta_type,
        options.memory,
        options.warmup,
        options.images,
        options.licence,
    )
    print(card.summary())
    print(f"written: {folder}")


def _add_tflite(formats) -> None:
    parser = _add_format(formats, "tflite", "TFLite file for LiteRT", ".tflite file")
    _add_precision(parser, ["float32", "float16", "int8"])
    parser.add_argument(
        "--tile",
        type=int,
        metavar="N",
        help="accept inputs of NxN pixels only, as GPU and NPU delegates need (default: any size)",
    )
    parser.add_argument(
        "--margin",
        type=int,
        metavar="M",
        help="overlap of tiles in pixels (default: enough to avoid seams; DPDNN: 48)",
    )


def _tflite(options: argparse.Namespace) -> None:
    with quiet():
        from udl_tf.export import export_tflite

        card = export_tflite(
            options.model,
            options.output,
            options.precision,
            options.tile,
            options.margin,
            options.uncertainty,
            options.images,
            options.licence,
        )
    _print_file(options.output, card.summary())


def _add_onnx(formats) -> None:
    parser = _add_format(formats, "onnx", "ONNX file for ONNX Runtime and others", ".onnx file")
    _add_precision(parser, ["float32", "float16", "int8"])
    parser.add_argument("--opset", type=int, default=18, choices=[17, 18], help="default: 18")


def _onnx(options: argparse.Namespace) -> None:
    with quiet():
        from udl_tf.export import export_onnx

    card = export_onnx(
        options.model,
        options.output,
        options.precision,
        options.opset,
        options.uncertainty,
        options.images,
        options.licence,
    )
    _print_file(options.output, card.summary())


def _print_file(path: Path, summary: str) -> None:
    print(summary)
    print(f"written: {path} ({path.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    command_line.run(main)
