"""Options of `udl-tf upscale`."""

import argparse
import re

from udl_tf._support import command_line
from udl_tf.errors import UserError
from udl_tf.imaging.formats import WRITABLE
from udl_tf.imaging.theta_map import MAP_STYLES, MAP_TOP


def parse_options(arguments: list[str] | None, description: str | None) -> argparse.Namespace:
    """Parses the arguments of `udl-tf upscale`; None: those of the process.

    Raises:
        UserError: for values that are not valid, or do not go together.
    """
    parser = command_line.make_parser("udl-tf upscale", description)
    parser.add_argument(
        "input",
        nargs="+",
        help="files of images and scenes (measurements, georeferenced TIFF), and folders of them",
    )
    parser.add_argument(
        "--model",
        help=f"{command_line.MODEL_HELP} (default: a photo preset for JPEG of quality 92 or"
        " less and lossy WebP, else a light one; the smallest whose scale is at least --outscale)",
    )
    _add_result(parser)
    parser.add_argument(
        "--self-ensemble",
        action="store_true",
        help="average the results of the eight flips and rotations: slightly better, eight times"
        " slower",
    )
    parser.add_argument(
        "--ensemble",
        action="store_true",
        help="like --self-ensemble, and also write two maps: the spread of the eight results,"
        " and theta and spread combined",
    )
    _add_measurements(parser)
    _add_limits(parser)
    command_line.add_precision(parser)
    _add_existing(parser)
    options = parser.parse_args(arguments)
    if options.ensemble and options.uncertainty == "none":
        raise UserError(
            "--ensemble writes maps of uncertainty: omit --uncertainty none, or use --self-ensemble"
        )
    command_line.check_positive(options, "tile", "memory", "max_megapixels", "theta_scale")
    options.outscale, options.size = _outscale(options.outscale), _size(options.size)
    return options


def _add_measurements(parser: argparse.ArgumentParser) -> None:
    """Adds the options of files whose values are measurements."""
    parser.add_argument(
        "--nodata",
        type=float,
        metavar="VALUE",
        help="value that marks pixels without data (default: as each file states; NaN always); all"
        " files are then upscaled as scenes, see docs/science.md",
    )
    parser.add_argument(
        "--consistent",
        action="store_true",
        help="change results so that, reduced (bicubic), they equal their inputs (back projection)",
    )


def _add_limits(parser: argparse.ArgumentParser) -> None:
    """Adds the options of tiles, memory and what is accepted as input."""
    parser.add_argument(
        "--tile",
        type=int,
        help="side of the tiles in input pixels (default: auto); small tiles are slower",
    )
    parser.add_argument(
        "--memory",
        type=float,
        metavar="GB",
        help="working memory, for scenes that of the whole process (default: auto)",
    )
    parser.add_argument(
        "--max-megapixels", type=float, metavar="MP", help=command_line.MAX_MEGAPIXELS_HELP
    )


def _add_existing(parser: argparse.ArgumentParser) -> None:
    """Adds the options on results that already exist."""
    parser.add_argument(
        "--skip-existing",
        action="store_true",
        help="skip images whose result and maps already exist",
    )
    parser.add_argument(
        "--overwrite",
        action=argparse.BooleanOptionalAction,
        help="replace any existing file, or none (default: earlier results of udl_tf only)",
    )


def _add_result(parser: argparse.ArgumentParser) -> None:
    """Adds the options of place, format and size of the results."""
    parser.add_argument(
        "--output", default="upscaled", help="folder for the results (default: upscaled)"
    )
    formats = ["same", *(suffix.removeprefix(".") for suffix in WRITABLE)]
    parser.add_argument(
        "--format",
        default="same",
        choices=formats,
        help="format of the results of images (default: the input's)",
    )
    command_line.add_pixels(parser)
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument(
        "--outscale",
        help="width of the result of an image divided by the input's (default: the model's scale);"
        " the model's result is resampled if this differs from the model's scale",
    )
    sizes.add_argument(
        "--size",
        metavar="WxH",
        help="size of the result of an image in pixels; may change the aspect ratio",
    )
    parser.add_argument(
        "--uncertainty",
        choices=["none", "npy", "tiff", "png", "bands"],
        help="write theta as float32 grey levels (npy, tiff) or as a colour image (png), of scenes"
        " as further channels of the result (bands); 'none' saves 8 to 26 %% of the run time"
        " (default: png, of scenes a file of their format, if the model has uncertainty, else"
        " none)",
    )
    command_line.add_maps(parser, MAP_STYLES, MAP_TOP)


def _outscale(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        scale = float(text)
    except ValueError:
        scale = -1.0
    if not 0 < scale <= 100:
        raise UserError(
            f"--outscale {text}: expected a number above 0 and at most 100, such as 2.5"
        )
    return scale


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", text)
    if match is None:
        raise UserError(f"--size {text}: expected WIDTHxHEIGHT in pixels, such as 1920x1080")
    return int(match[1]), int(match[2])
