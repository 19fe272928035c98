"""Option parsing, exit codes and progress bars shared by the commands."""

import argparse
import io
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from udl_tf._support.progress import Progress
from udl_tf.errors import Interrupted, Lost, UserError

MODEL_HELP = (
    "a preset, such as light_x4 (udl-tf presets lists them), a run folder, an exported file or"
    " folder, or grpc://HOST:8500/NAME of a server"
)
RUN_HELP = "a preset, such as light_x4, or a run folder"
MAX_MEGAPIXELS_HELP = "refuse larger images (protection against decompression bombs; default: 89)"

_NO_TENSORFLOW = (
    "TensorFlow is not installed: run pip install tensorflow (train, evaluate, calibrate and"
    " upscale also work without it, on JAX: set KERAS_BACKEND=jax)"
)


def make_parser(prog: str, description: str | None) -> argparse.ArgumentParser:
    """Returns a parser whose help shows a module docstring as it is written."""
    return argparse.ArgumentParser(
        prog=prog,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_pixels(parser: argparse.ArgumentParser) -> None:
    """Adds the options on what pixels of files mean."""
    parser.add_argument(
        "--background",
        default="white",
        metavar="COLOUR",
        help="colour behind transparent pixels in jpg and bmp, which store no alpha: a name or"
        " #rrggbb (default: %(default)s)",
    )
    parser.add_argument(
        "--value-range",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="black and white of float TIFF files (default: 0 255)",
    )


def add_maps(parser: argparse.ArgumentParser, styles: Sequence[str], top: float) -> None:
    """Adds the options on png maps: the default and other styles, and the default scale."""
    parser.add_argument(
        "--theta-scale",
        type=float,
        default=top,
        metavar="LEVELS",
        help="grey levels of the brightest colour of png maps; equal for all images, so that"
        " their maps can be compared (default: %(default)g)",
    )
    parser.add_argument(
        "--map",
        default=styles[0],
        choices=styles,
        help="png maps with a scale bar and a legend below, or plain ones of exactly the result's"
        " size (default: %(default)s)",
    )


def add_precision(parser: argparse.ArgumentParser) -> None:
    """Adds --precision for a model that this process runs, and its older spelling --fast."""
    parser.add_argument(
        "--precision",
        choices=["float32", "bfloat16", "auto"],
        default="float32",
        help="precision of presets and run folders; auto picks the faster one on this machine"
        " and prints the PSNR that it costs; exports keep the precision they were exported in"
        " (default: float32)",
    )
    parser.add_argument(
        "--fast", dest="precision", action="store_const", const="auto", help="--precision auto"
    )


def add_degrade(parser: argparse.ArgumentParser) -> None:
    """Adds --degrade, for degradations of the LR images of datasets."""
    parser.add_argument(
        "--degrade",
        metavar="OPERATIONS",
        help="degrade the LR images, in this order, such as blur:1.2+noise:5+jpeg:75: jpeg and webp"
        " with their quality; noise, poisson (at white) and blur with their standard deviation in"
        " grey levels or LR pixels; a range, and a share of the images, as in 'jpeg:30..95 on"
        " 85 %%', are drawn for each image; or training: the degradations of the model's training",
    )


def degraded_name(name: str, degrade: str | None) -> str:
    """Returns the name of a results folder; with --degrade, its operations are appended."""
    return name if degrade is None else re.sub(r"[^\w.-]+", "_", f"{name}_{degrade}")


def with_max_pixels(options: Any, megapixels: float | None) -> Any:
    """Returns job options with the given limit of pixels; unchanged if there is none."""
    if megapixels is None:
        return options
    return replace(options, max_pixels=int(1e6 * megapixels))


def check_positive(options: argparse.Namespace, *names: str) -> None:
    """Requires the given options, and every element of lists, to be positive and finite.

    Raises:
        UserError: naming the first that is not.
    """
    for name in names:
        given = getattr(options, name)
        for value in given if isinstance(given, list) else [given]:
            if value is not None and not 0 < value < math.inf:
                raise UserError(f"--{name.replace('_', '-')} {value}: expected a positive number")


@contextmanager
def progress_bar(unit: str, scale: float = 1.0) -> Iterator[Progress]:
    """Yields a Progress that draws a bar with the time left; silent without a terminal.

    Args:
        unit: name of the unit of the bar.
        scale: units of the bar per unit of the task.
    """
    from tqdm import tqdm

    layout = "{desc}{percentage:3.0f}%|{bar}| {n:.6g}/{total:.6g} {unit}, {remaining} left"
    # The layout needs a number for the total, also before the first report.
    with tqdm(total=0, unit=unit, bar_format=layout, disable=None) as bar:

        def report(done: float, total: float | None, label: str = "") -> None:
            bar.total = round(scale * (total or 0), 2)
            bar.set_description(label, refresh=False)
            bar.update(round(scale * done, 2) - bar.n)

        yield report


def run(
    main: Callable[[list[str] | None], object],
    arguments: list[str] | None = None,
    flags: Mapping[str, str] | None = None,
) -> None:
    """Runs a command; reports bad input as one line and exit code 2, an interruption as 130.

    Args:
        main: the command.
        arguments: its arguments; None: those of the process.
        flags: the option of each argument whose option is not --ARGUMENT, for errors.
    """
    _escape_unknown_characters()
    try:
        _check_empty(sys.argv[1:] if arguments is None else arguments)
        main(arguments)
    except UserError as error:
        print(f"error: {with_option(error, flags or {})}", file=sys.stderr)
        sys.exit(2)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "tensorflow":
            raise
        print(f"error: {_NO_TENSORFLOW}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # the reader of the pipe, such as head, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        print(f"error: {named}{error.strerror or error}", file=sys.stderr)
        sys.exit(2)
    except Interrupted as interruption:
        print(interruption, file=sys.stderr)
        sys.exit(130)
    except Lost as loss:
        print(f"error: {loss}", file=sys.stderr)
        sys.exit(loss.exit_code)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)


def _escape_unknown_characters() -> None:
    """Makes the standard streams escape characters that their encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _check_empty(arguments: Sequence[str]) -> None:
    """Refuses empty arguments: as a path, they would be the working folder.

    Raises:
        UserError: naming the first, by its option or by its position.
    """
    for place, argument in enumerate(arguments, 1):
        option = re.fullmatch(r"(--[\w-]+)=", argument)
        if option or not argument.strip():
            before = option[1] if option else arguments[place - 2] if place > 1 else ""
            name = before if before.startswith("--") else f"argument {place}"
            raise UserError(
                f"{name}: is empty; expected a value (the working folder is .): check the shell"
                " variable that it comes from"
            )


def with_option(error: UserError, flags: Mapping[str, str]) -> str:
    """Returns the message of an error, followed by the option that sets its argument, if any."""
    if error.argument is None:
        return str(error)
    return f"{error} ({flags.get(error.argument, '--' + error.argument.replace('_', '-'))})"
