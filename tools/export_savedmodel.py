"""Exports a trained model for TensorFlow Serving, checked beside the Keras networks.

    python tools/export_savedmodel.py --model RUN --output models/NAME

This writes models/NAME/1, then 2, ...; docs/serving.md tells the signatures and how to serve them.
"""

from udl_tf import cli


def main(arguments: list[str] | None = None) -> None:
    parser = cli.make_export_parser(
        "python tools/export_savedmodel.py", __doc__, "the model's folder, with its versions in it"
    )
    parser.add_argument("--version", type=int, help="default: one more than the highest there is")
    parser.add_argument(
        "--self-ensemble",
        action="store_true",
        help="mean over the eight flips and rotations: a little better, eight times slower",
    )
    parser.add_argument(
        "--max-pixels",
        type=int,
        default=2048**2,
        help="larger input pictures (height times width) are refused (default: 2048 x 2048)",
    )
    parser.add_argument(
        "--image-type",
        default="uint8",
        choices=["uint8", "float32"],
        help="of the signatures' `image`, 0..255 in any case (default: uint8)",
    )
    parser.add_argument(
        "--theta-type",
        default="float32",
        choices=["float32", "float16"],
        help="float16 is half as large but goes by gRPC only (default: float32)",
    )
    parser.add_argument(
        "--memory",
        type=float,
        metavar="GB",
        help="for the server to compute with, beside the results (default: 1, DPDNN 3)",
    )
    parser.add_argument(
        "--no-warmup",
        dest="warmup",
        action="store_false",
        help="leave the warm-up requests out, which need tensorflow-serving-api",
    )
    options = parser.parse_args(arguments)
    cli.check_positive(options, "version", "max_pixels", "memory")

    with cli.quiet():
        from udl_tf.export.savedmodel import export_savedmodel

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


if __name__ == "__main__":
    cli.run(main)
