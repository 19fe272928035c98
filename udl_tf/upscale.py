"""Upscales pictures, and says for each pixel how far to believe it.

    python -m udl_tf.upscale photo.png

makes upscaled/photo.png, four times as large, and a picture of theta beside it. Folders are
searched through, and their structure is kept. A picture that fails is told at the end, with exit
code 1; the others are made.
"""

import re
import sys
import time
from pathlib import Path

from PIL import Image

from udl_tf import cli, presets
from udl_tf.errors import UserError
from udl_tf.image_io import SUFFIXES, image_size


def main(arguments: list[str] | None = None) -> None:
    parser = cli.make_parser("python -m udl_tf.upscale", __doc__)
    parser.add_argument("input", nargs="+", help="pictures, and folders of them")
    parser.add_argument(
        "--model", help=f"{cli.MODEL_HELP} (default: the edsr_s preset that --outscale asks for)"
    )
    parser.add_argument(
        "--output", default="upscaled", help="folder for the results (default: upscaled)"
    )
    formats = ["same", *(suffix.removeprefix(".") for suffix in SUFFIXES)]
    parser.add_argument("--format", default="same", choices=formats, help="default: the input's")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--outscale", help="output over input size (default: the model's scale)")
    sizes.add_argument("--size", metavar="WxH", help="pixels of the result; stretches if need be")
    parser.add_argument(
        "--uncertainty",
        choices=["none", "npy", "tiff", "png"],
        help="write theta as float32 grey levels (npy, tiff), as a colour picture (png), or not,"
        " which is twice as fast (default: png, if the model has it)",
    )
    parser.add_argument(
        "--self-ensemble",
        action="store_true",
        help="mean over the eight flips and rotations: a little better, eight times slower",
    )
    parser.add_argument(
        "--ensemble",
        action="store_true",
        help="the same, and with --uncertainty also the members' spread, and both together",
    )
    parser.add_argument(
        "--tile", type=int, help="side of the tiles, input pixels: small ones cost time"
    )
    parser.add_argument(
        "--memory", type=float, metavar="GB", help="to compute with (default: auto)"
    )
    parser.add_argument(
        "--max-megapixels",
        type=float,
        metavar="MP",
        help=cli.MAX_MEGAPIXELS_HELP,
    )
    parser.add_argument("--fast", action="store_true", help=cli.FAST_HELP)
    parser.add_argument("--skip-existing", action="store_true", help="leave out what is there")
    options = parser.parse_args(arguments)
    if options.ensemble and options.uncertainty == "none":
        raise UserError("--ensemble splits the uncertainty: take --uncertainty npy, tiff or png")
    cli.check_positive(options, "tile", "memory", "max_megapixels")
    if options.max_megapixels is not None:
        Image.MAX_IMAGE_PIXELS = int(1e6 * options.max_megapixels)

    outscale, size = _outscale(options.outscale), _size(options.size)

    with cli.quiet():
        from udl_tf.fast import load_fast
        from udl_tf.jobs import Options, plan_jobs
        from udl_tf.loading import load
        from udl_tf.upscaling import run_jobs

    name = options.model or presets.usual(outscale)
    model = load_fast(name, print) if options.fast else load(name)
    usual = "png" if model.has_uncertainty or options.ensemble else "none"
    chosen = Options(
        format=options.format,
        outscale=outscale,
        size=size,
        uncertainty=options.uncertainty or usual,
        self_ensemble=options.self_ensemble,
        ensemble=options.ensemble,
        tile=options.tile,
        memory_gb=options.memory,
    )
    jobs = plan_jobs(options.input, Path(options.output), chosen)
    if chosen.maps and not model.has_uncertainty:
        raise UserError(
            f"{name}: this model has no uncertainty: leave --uncertainty out, or take one"
            " that was trained with an 'esu' step and exported with its uncertainty"
        )
    if chosen.maps and model.calibration is None:
        print("theta is as trained, not calibrated: run python -m udl_tf.calibrate on the model")
    if Path(options.output).is_file():
        raise UserError(f"--output {options.output}: is a file; expected a folder")
    Path(options.output).mkdir(parents=True, exist_ok=True)
    waiting = jobs
    if options.skip_existing:
        waiting = [job for job in jobs if not all(target.exists() for target in job.targets)]
    start = time.monotonic()
    with _ProgressBar(waiting) as bar:
        summary = run_jobs(model, waiting, chosen, bar)
    for line in summary.notes:
        print(line)
    for line in summary.failed:
        print(f"failed: {line}", file=sys.stderr)
    seconds = time.monotonic() - start
    skipped = f", {len(jobs) - len(waiting)} were there" if options.skip_existing else ""
    print(
        f"{summary.done} of {len(jobs)} pictures upscaled in {seconds:.1f} s"
        f" ({summary.pixels / 1e6 / seconds:.2g} megapixels/s){skipped},"
        f" {len(summary.failed)} failed: {options.output}"
    )
    if summary.failed:
        sys.exit(1)


class _ProgressBar:
    """A bar over all input pixels with the time left; silent where no terminal is."""

    def __init__(self, jobs):
        from tqdm import tqdm

        self.pixels = {job: _pixels(job.source) for job in jobs}
        total = sum(self.pixels.values()) / 1e6
        bar = "{desc}{percentage:3.0f}%|{bar}| {n:.2f}/{total:.2f} megapixels, {remaining} left"
        self.bar = tqdm(total=total, bar_format=bar, disable=None)

    def __call__(self, job, share: float) -> None:
        self.bar.set_description(job.source.name, refresh=False)
        self.bar.update(share * self.pixels[job] / 1e6)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.bar.close()


def _pixels(path: Path) -> int:
    try:
        height, width = image_size(path)
    except UserError:  # told when its turn comes
        return 0
    return height * width


def _outscale(text: str | None) -> float | None:
    try:
        scale = None if text is None else float(text)
    except ValueError:
        scale = -1.0
    if scale is not None and not 0 < scale <= 100:
        raise UserError(f"--outscale {text}: expected a number above 0, such as 2.5")
    return scale


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", text)
    if match is None:
        raise UserError(f"--size {text}: expected WIDTHxHEIGHT in pixels, such as 1920x1080")
    return int(match[1]), int(match[2])


if __name__ == "__main__":
    cli.run(main)
