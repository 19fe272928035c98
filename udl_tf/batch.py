"""Upscales a collection of any number of images with Ray, on this machine or a cluster.

    udl-tf batch INPUT --output OUTPUT --model light_x4

INPUT and OUTPUT are folders or URIs, such as s3://BUCKET/FOLDER. OUTPUT/manifest.parquet has a row
per image: checksums, result, mean theta, time, error. Run the same command again to upscale images
that have no result yet, have changed or failed. The exit code is 1 if the latest attempt
at any image failed, or a folder could not be listed.
"""

import argparse
import os
import signal
import sys
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from udl_tf._support import command_line
from udl_tf._support.backend import check_backend
from udl_tf._support.processes import run_to_its_end
from udl_tf._support.stderr import quiet
from udl_tf.errors import Interrupted, Lost, UserError
from udl_tf.hub import presets
from udl_tf.imaging.formats import WRITABLE
from udl_tf.imaging.theta_map import MAP_STYLES, MAP_TOP

if TYPE_CHECKING:
    from udl_tf.archive import ArchiveJob, Work

_INTERVAL = 10.0  # s between lines of progress
_SHOWN = 10  # errors printed at the end; the manifest has all
_WATCHED = "UDL_TF_BATCH_WATCHED"  # set in the process that runs the job
_CRASHES = -signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS
_TRIES = 5  # crashes until the command gives up
_STOPPED = "stopped: run the same command again to resume"


def main(arguments: list[str] | None = None) -> None:
    options = _parse(arguments)
    check_backend("tensorflow", "jax")
    if _WATCHED not in os.environ:
        sys.exit(_watch(sys.argv[1:] if arguments is None else arguments))
    try:
        _prepare_process()
        job = _run(options)
    except KeyboardInterrupt:
        raise Interrupted(_STOPPED) from None
    _report(job, options.output)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = command_line.make_parser("udl-tf batch", __doc__)
    parser.add_argument("input", help="folder or URI of the images")
    parser.add_argument("place", nargs="?", metavar="OUTPUT", help="older form of --output")
    parser.add_argument("--output", help="folder or URI for the results, which keep their names")
    parser.add_argument(
        "--model",
        default=presets.default_preset(None),
        help=f"{command_line.MODEL_HELP} (default: %(default)s)",
    )
    formats = ["same", *(suffix.removeprefix(".") for suffix in WRITABLE)]
    parser.add_argument("--format", default="same", choices=formats, help="default: the input's")
    parser.add_argument(
        "--uncertainty",
        choices=["none", "mean", "npy", "tiff", "png"],
        help="mean: mean theta in the manifest; npy, tiff, png: also a map next to each result;"
        " none: no theta, which saves 8 to 26 %% of the time (default: mean, if the model has"
        " uncertainty)",
    )
    command_line.add_maps(parser, MAP_STYLES, MAP_TOP)
    parser.add_argument(
        "--actors", type=int, help="processes (default: one per GPU, or one per machine)"
    )
    parser.add_argument(
        "--threads", type=int, default=8, help="images at a time per actor (default: %(default)s)"
    )
    parser.add_argument(
        "--tile", type=int, help="side of the tiles in input pixels (default: auto)"
    )
    parser.add_argument(
        "--max-megapixels", type=float, metavar="MP", help=command_line.MAX_MEGAPIXELS_HELP
    )
    command_line.add_pixels(parser)
    parser.add_argument(
        "--overwrite",
        action="store_true",
        default=None,
        help="accept an output that holds other files, and replace those of the same names",
    )
    parser.add_argument(
        "--precision",
        choices=["float32", "bfloat16"],
        default="float32",
        help="udl-tf doctor prints how much faster bfloat16 is (default: %(default)s)",
    )
    parser.add_argument(
        "--address",
        help="address of the head of a Ray cluster, or auto (default: this machine alone)",
    )
    options = parser.parse_intermixed_args(arguments)  # allows INPUT --model MODEL OUTPUT
    if options.output is None:
        options.output = options.place
    elif options.place is not None:
        raise UserError(f"--output {options.output} and {options.place}: expected one output")
    if options.output is None:
        raise UserError("the output is missing: add --output OUTPUT")
    command_line.check_positive(
        options, "actors", "threads", "tile", "max_megapixels", "theta_scale"
    )
    return options


def _run(options: argparse.Namespace) -> "ArchiveJob":
    """Runs the job; Ray is opened only if images are left to upscale."""
    with quiet():
        from udl_tf.archive import ArchiveJob, open_ray

        work = _work(options)
    job = ArchiveJob(work)
    if not job.is_finished:
        with ExitStack() as stack:
            with quiet():  # Ray's native code prints a line when it is opened
                stack.enter_context(open_ray(options.address))
            job.run(options.actors, _Progress())
    return job


def _work(options: argparse.Namespace) -> "Work":
    """Returns the settings of the job; loads the model once, so that a wrong one fails here."""
    from udl_tf.archive import Work
    from udl_tf.inference import Options
    from udl_tf.inference.upscaler import check_takes_images
    from udl_tf.saved.loading import load_upscaler

    model = load_upscaler(options.model, options.precision)
    check_takes_images(model, options.model)
    wanted = options.uncertainty or ("mean" if model.has_uncertainty else "none")
    if wanted != "none" and not model.has_uncertainty:
        raise UserError(f"{options.model}: this model has no uncertainty: omit --uncertainty")
    chosen = Options(
        format=options.format,
        uncertainty="none" if wanted == "mean" else wanted,
        tile=options.tile,
        theta=wanted != "none",
        value_range=options.value_range and tuple(options.value_range),
        overwrite=options.overwrite,
        background=options.background,
        theta_scale=options.theta_scale,
        map_style=options.map,
    )
    chosen = command_line.with_max_pixels(chosen, options.max_megapixels)
    places = options.input, options.output, options.model
    return Work(*places, options.precision, chosen, options.threads)


def _report(job: "ArchiveJob", output: str) -> None:
    """Prints the result, and exits with code 1 if images failed, in this run or earlier ones."""
    rows, tally = job.gather_manifest(), job.tally
    errors = rows.filter(rows["error"].is_valid())
    for row in errors.slice(0, _SHOWN).to_pylist():
        print(f"failed: {row['source']}: {row['error']}", file=sys.stderr)
    for error in job.skipped.failed:
        print(f"failed: {error}", file=sys.stderr)
    if job.skipped.counts:
        print(f"skipped: {job.skipped}")
    print(
        f"{tally.upscaled} images upscaled in {tally.seconds:.1f} s ({tally.rate:.3g} images/s),"
        f" {tally.skipped} already existed (skipped), {tally.failed} failed: {output},"
        " manifest.parquet"
    )
    if len(errors) or job.skipped.failed:
        sys.exit(1)


def _watch(arguments: list[str]) -> int:
    """Runs the job in another process, again if native code crashes it; returns its exit code.

    Ray 2.60 occasionally crashes the process when an actor dies.

    Raises:
        Interrupted: if a person stopped it, and it could not report that itself.
        Lost: if it crashes every time.
    """
    command = [sys.executable, "-m", "udl_tf.batch", *arguments]
    for _ in range(_TRIES):
        code, stopped = run_to_its_end(command, os.environ | {_WATCHED: "1"})
        if stopped and code < 0:
            raise Interrupted(_STOPPED)
        if code not in _CRASHES:
            return code if code >= 0 else 128 - code
        print(f"Ray crashed ({signal.Signals(-code).name}): resuming", file=sys.stderr)
    raise Lost(f"Ray crashed {_TRIES} times: run the same command again to resume")


def _prepare_process() -> None:
    """Prepares this process for the job: it stops with its watcher and uses no GPU."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Thread(target=_stop_with_watcher, daemon=True).start()
    with quiet():
        import tensorflow as tf
    tf.config.set_visible_devices([], "GPU")  # GPUs belong to the actors


def _stop_with_watcher() -> None:
    """Stops this process when its standard input ends, because the watcher was killed."""
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


class _Progress:
    """Prints a line every ten seconds."""

    def __init__(self):
        self._start = self._last = time.monotonic()

    def __call__(self, done: float, total: float | None, label: str = "") -> None:
        now = time.monotonic()
        if now - self._last > _INTERVAL:
            self._last = now
            rate = done / (now - self._start)
            print(f"{done:.0f} images done, {rate:.3g} images/s, {label}", file=sys.stderr)


if __name__ == "__main__":
    command_line.run(main)
