"""Upscales an archive of any number of pictures, on this machine or a Ray cluster.

    python -m udl_tf.batch INPUT OUTPUT --model edsr_s_x4

INPUT and OUTPUT are folders or URIs, such as s3://BUCKET/FOLDER. OUTPUT/manifest.parquet has a row
for each picture: checksums, result, mean theta, time, error. The same command again makes what has
no row yet, and tries again what failed; the exit code is 1 while anything has.
"""

import os
import signal
import sys
import threading
import time

from udl_tf import cli, presets
from udl_tf.errors import Interrupted, Lost, UserError, needs_extra
from udl_tf.image_io import SUFFIXES
from udl_tf.processes import run_to_its_end

_EVERY = 10.0  # s between lines of progress
_WATCHED = "UDL_TF_BATCH_WATCHED"  # set for the process that has the job
_CRASHES = -signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS
_TRIES = 5  # times that a job may crash
_STOPPED = "stopped: the same command makes what is not there yet"


def main(arguments: list[str] | None = None) -> None:
    parser = cli.make_parser("python -m udl_tf.batch", __doc__)
    parser.add_argument("input", help="folder or URI of the pictures")
    parser.add_argument("output", help="folder or URI for the results, whose names are the same")
    parser.add_argument(
        "--model", default=presets.usual(None), help=f"{cli.MODEL_HELP} (default: %(default)s)"
    )
    formats = ["same", *(suffix.removeprefix(".") for suffix in SUFFIXES)]
    parser.add_argument("--format", default="same", choices=formats, help="default: the input's")
    parser.add_argument(
        "--uncertainty",
        choices=["none", "mean", "npy", "tiff", "png"],
        help="theta: its mean in the manifest, also a map beside each picture, or none of it, which"
        " is twice as fast (default: mean, if the model has it)",
    )
    parser.add_argument("--actors", type=int, help="processes (default: one a GPU or machine)")
    parser.add_argument(
        "--threads", type=int, default=8, help="pictures at a time in each (default: %(default)s)"
    )
    parser.add_argument("--tile", type=int, help="side of the tiles, input pixels (default: auto)")
    parser.add_argument(
        "--max-megapixels",
        type=float,
        metavar="MP",
        help=cli.MAX_MEGAPIXELS_HELP,
    )
    parser.add_argument(
        "--precision",
        choices=["float32", "bfloat16"],
        default="float32",
        help="python -m udl_tf.doctor tells how much faster bfloat16 is (default: %(default)s)",
    )
    parser.add_argument(
        "--address", help="of a Ray cluster's head, or auto (default: this machine alone)"
    )
    options = parser.parse_args(arguments)
    cli.check_positive(options, "actors", "threads", "tile", "max_megapixels")
    if _WATCHED not in os.environ:
        sys.exit(_watch(sys.argv[1:] if arguments is None else arguments))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Thread(target=_end_with_watcher, daemon=True).start()
    with cli.quiet(), needs_extra("ray"):
        import tensorflow as tf

        from udl_tf.archive.job import Resources, run_archive
        from udl_tf.archive.worker import Work
        from udl_tf.jobs import Options
        from udl_tf.loading import load_in

    tf.config.set_visible_devices([], "GPU")  # which belong to the actors
    policy = "mixed_bfloat16" if options.precision == "bfloat16" else "float32"
    model = load_in(options.model, policy)
    wanted = options.uncertainty or ("mean" if model.has_uncertainty else "none")
    if wanted != "none" and not model.has_uncertainty:
        raise UserError(f"{options.model}: this model has no uncertainty: leave --uncertainty out")
    del model
    chosen = Options(
        format=options.format,
        uncertainty="none" if wanted == "mean" else wanted,
        tile=options.tile,
        theta=wanted != "none",
    )
    what = options.input, options.output, options.model, policy
    pixels = options.max_megapixels and int(1e6 * options.max_megapixels)
    work = Work(*what, chosen, options.threads, cores=0, max_pixels=pixels)
    progress = _Progress()
    try:
        tally, rows = run_archive(work, Resources(options.address, options.actors), progress)
    except KeyboardInterrupt:
        raise Interrupted(_STOPPED) from None
    errors = rows.filter(rows["error"].is_valid())
    for row in errors.slice(0, 10).to_pylist():
        print(f"failed: {row['source']}: {row['error']}", file=sys.stderr)
    print(
        f"{tally.made} pictures upscaled in {tally.seconds:.1f} s ({tally.rate:.3g} a second),"
        f" {tally.skipped} were there, {tally.failed} failed: {options.output}, manifest.parquet"
    )
    if len(errors):
        sys.exit(1)


def _watch(arguments: list[str]) -> int:
    """Runs the job in another process, again if native code ends that; returns its exit code.

    Ray 2.60 does so, once in many times, when it sees an actor die.

    Raises:
        Interrupted: if a person ended it, and it could not say so itself.
        Lost: if that does not help.
    """
    command = [sys.executable, "-m", "udl_tf.batch", *arguments]
    for _ in range(_TRIES):
        code, stopped = run_to_its_end(command, os.environ | {_WATCHED: "1"})
        if stopped and code < 0:
            raise Interrupted(_STOPPED)
        if code not in _CRASHES:
            return code if code >= 0 else 128 - code
        print(f"Ray crashed ({signal.Signals(-code).name}): going on", file=sys.stderr)
    raise Lost(f"Ray crashed {_TRIES} times: the same command makes what is not there yet")


def _end_with_watcher() -> None:
    """Ends this process when its standard input does: when nobody watches it any more."""
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


class _Progress:
    """A line now and then."""

    def __init__(self):
        self._last = time.monotonic()

    def __call__(self, tally) -> None:
        if time.monotonic() - self._last > _EVERY:
            self._last = time.monotonic()
            print(
                f"{tally.made} pictures, {tally.rate:.3g} a second, {tally.failed} failed",
                file=sys.stderr,
            )


if __name__ == "__main__":
    cli.run(main)
