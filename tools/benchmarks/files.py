"""Rate of upscaling many small files, compared with the networks alone on batches."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.turns import in_turns
from udl_tf.data.sources import bundled_dataset
from udl_tf.imaging.rgb_files import read_rgb
from udl_tf.inference.chain_runner import ChainRunner
from udl_tf.inference.job_runner import run_jobs
from udl_tf.inference.jobs import Options, plan_jobs
from udl_tf.inference.keras_upscaler import KerasUpscaler
from udl_tf.inference.upscaler import BORDER
from udl_tf.saved.loading import load_upscaler

BATCHES = (1, 16)  # batch sizes of the networks alone; the faster one counts
UNCERTAINTY = ("none", "npy", "png")


def run_files(
    model: Path | str, folder: Path, count: int, side: int, repeats: int
) -> list[dict[str, Any]]:
    """Times run_jobs over PNG files, and the networks on the windows that it computes.

    Args:
        model: preset or run folder.
        folder: for the files and results.
        count: files.
        side: of the images, LR pixels.
        repeats: of each contestant, in turns.

    Returns:
        A row per format of theta: "uncertainty", the format; images per second of each repeat of
        the "networks" alone, with the "best" of the batch sizes, and of "run_jobs", which also
        reads and writes.
    """
    upscaler = load_upscaler(model)
    assert isinstance(upscaler, KerasUpscaler)
    images = _write_images(folder / "in", count, side)
    padding = ((0, 0), (BORDER, BORDER), (BORDER, BORDER), (0, 0))
    windows = np.pad(images, padding, "symmetric").astype(np.float32)
    rows = []
    for uncertainty in UNCERTAINTY:
        options = Options(uncertainty=uncertainty, overwrite=True)
        chains = upscaler.networks.build_chains(options.computes_theta, bordered=True)
        runners = [ChainRunner(chain) for _, chain in chains]
        networks = {f"{n} at a time": partial(_networks, runners, windows, n) for n in BATCHES}
        run = partial(_jobs, upscaler, folder, options)
        seconds = in_turns({**networks, "run_jobs": run}, repeats)
        rates = {name: [count / float(s) for s in values] for name, values in seconds.items()}
        best = max(networks, key=lambda name: np.median(rates[name]))
        rows.append({"uncertainty": uncertainty, "best": best, "networks": rates[best]})
        rows[-1]["run_jobs"] = rates["run_jobs"]
    return rows


def files_table(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Returns the cells of a Markdown table, header first."""
    cells = [["θ", "networks, images/s", "range", "udl-tf upscale, images/s", "range", "share"]]
    for row in rows:
        line = [row["uncertainty"]]
        for name in ("networks", "run_jobs"):
            line += [f"{np.median(row[name]):.1f}", f"{min(row[name]):.1f}–{max(row[name]):.1f}"]
        cells.append([*line, f"{np.median(row['run_jobs']) / np.median(row['networks']):.0%}"])
    return cells


def _write_images(folder: Path, count: int, side: int) -> np.ndarray:
    """Writes random parts of the bundled training images as PNG, and returns them (n, h, w, 3)."""
    random, images = np.random.default_rng(0), []
    photos = [read_rgb(source.hr) for source in bundled_dataset("train").sources]
    folder.mkdir(parents=True)
    for number in range(count):
        photo = photos[number % len(photos)]
        top, left = (int(random.integers(length - side + 1)) for length in photo.shape[:2])
        images.append(photo[top : top + side, left : left + side])
        Image.fromarray(images[-1]).save(folder / f"{number:05}.png")
    return np.stack(images)


def _networks(
    runners: Sequence[ChainRunner], windows: np.ndarray, batch: int
) -> Callable[[], None]:
    def run() -> None:
        for first in range(0, len(windows), batch):
            part = windows[first : first + batch]
            for runner in runners:
                runner.values(part, [1e12] * len(runner.stages))

    return run


def _jobs(model: KerasUpscaler, folder: Path, options: Options) -> Callable[[], None]:
    jobs = plan_jobs([folder / "in"], folder / options.uncertainty, options)

    def run() -> None:
        summary = run_jobs(model, jobs, options)
        assert summary.done == len(jobs), summary.failed

    return run
