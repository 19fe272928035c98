"""How many training patches a second the input pipeline makes, beside a PyTorch DataLoader."""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from udl_tf._support.hardware import usable_cores
from udl_tf.config import DataConfig
from udl_tf.data.pack import Arrays, write_pack
from udl_tf.data.pipeline import training_batches
from udl_tf.data.sources import ImageSource, folder_dataset, folder_datasets, large_enough
from udl_tf.data.store import ImageStore, read_pair
from udl_tf.errors import UserError


def run_pipeline(
    folders: Sequence[Path], scale: int, scratch: Path, repeats: int, seconds: float = 5.0
) -> dict[str, list[float] | str]:
    """Patches a second of each way to feed EDSR-S with LR patches of 48 pixels, 16 an update.

    Args:
        folders: of training images; those smaller than a patch are left out.
        scale: HR over LR size.
        scratch: folder for a pack of them, and for LR images.
        repeats: of each way, in turns.
        seconds: that each repeat lasts.
    """
    config = DataConfig(hr_patch_size=48 * scale, batch_size=16, small_images="skip")
    sources = [p for dataset in folder_datasets(folders, scale) for p in dataset.sources]
    images, cache = large_enough(sources, config), scratch / "lr"
    items = [(str(number), partial(_arrays, p, scale)) for number, p in enumerate(images)]
    write_pack(scratch / "pack", {"scale": scale}, items)
    pack = folder_dataset(scratch / "pack", scale).sources
    ways: dict[str, Iterator[Any] | str] = {}
    for name, source, memory in (
        ("pack", pack, 10.0),
        ("images, all decoded in memory", images, 10.0),
        ("images, decoded each time", images, 1e-9),
    ):
        store = ImageStore(source, scale, memory, cache)
        store.load_all()
        ways[name] = iter(training_batches(store, config, 0, 0))
    try:
        from benchmarks.peers import torch_batches

        store = ImageStore(images, scale, 1e-9, cache)
        store.load_all()  # so that the LR images are there
        ways["PyTorch DataLoader, image files"] = torch_batches(store, config, usable_cores())
    except UserError as error:
        ways["PyTorch DataLoader, image files"] = str(error)
    rates: dict[str, list[float] | str] = {
        name: way if isinstance(way, str) else [] for name, way in ways.items()
    }
    for _ in range(repeats):
        for name, batches in ways.items():
            if not isinstance(batches, str):
                found = rates[name]
                assert isinstance(found, list)
                found.append(_rate(batches, config.batch_size, seconds))
    return rates


def _arrays(source: ImageSource, scale: int) -> tuple[Arrays, dict[str, Any]]:
    return read_pair(source, scale), {}


def pipeline_table(rates: dict[str, list[float] | str]) -> list[list[str]]:
    """The rows as cells of a Markdown table, the heads first."""
    cells = [["patches from", "patches/s", "range"]]
    for name, found in rates.items():
        if isinstance(found, str):
            cells.append([name, found, ""])
        else:
            spread = f"{min(found):,.0f}–{max(found):,.0f}"
            cells.append([name, f"{np.median(found):,.0f}", spread])
    return cells


def _rate(batches: Iterator[Any], size: int, seconds: float) -> float:
    for _ in range(4):  # what was made ahead
        next(batches)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        next(batches)
        count += size
    return count / (time.perf_counter() - start)
