"""Speed of the input pipeline of the Keras backend, compared with a PyTorch DataLoader."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from udl_tf._support.config_file import load_config
from udl_tf._support.hardware import usable_cores
from udl_tf.config import DataConfig, degradations_text
from udl_tf.data.image_source import ImageSource
from udl_tf.data.pack import Arrays, write_pack
from udl_tf.data.pipeline import make_delivery
from udl_tf.data.sources import folder_dataset, folder_datasets
from udl_tf.data.split import large_enough
from udl_tf.data.store import ImageStore, read_pair
from udl_tf.errors import UserError

_LR_PATCH_SIZE, _BATCH_SIZE = 48, 16

Rates = dict[str, list[float] | str]
"""By way to read patches: patches per second of each repeat, or the package that is missing."""


def run_pipeline(
    folders: Sequence[Path], scale: int, scratch: Path, repeats: int, seconds: float = 5.0
) -> Rates:
    """Measures patches per second of each way to read patches of 48x48 LR pixels.

    Args:
        folders: of training images; those smaller than a patch are skipped.
        scale: HR size divided by LR size.
        scratch: folder for a pack of the images, and for LR images.
        repeats: of each way, in turns.
        seconds: duration of a repeat.
    """
    size = _LR_PATCH_SIZE * scale
    config = DataConfig(hr_patch_size=size, batch_size=_BATCH_SIZE, small_images="skip")
    sources = [source for data in folder_datasets(folders, scale) for source in data.sources]
    images, cache = large_enough(sources, config), scratch / "lr"
    items = [(str(number), partial(_arrays, p, scale)) for number, p in enumerate(images)]
    write_pack(scratch / "pack", {"scale": scale}, items)
    pack = folder_dataset(scratch / "pack", scale).sources
    degradations = load_config("presets/photo_x4").data.degradations
    degraded = f"images in memory, degraded by {degradations_text(degradations)}"
    with ExitStack() as stack:
        ways: dict[str, Iterator[Any]] = {}
        for name, source, memory_gb, operations in (
            ("pack", pack, 10.0, []),
            ("images, all decoded in memory", images, 10.0, []),
            (degraded, images, 10.0, degradations),
            ("images, decoded each time", images, 1e-9, []),
        ):
            store = ImageStore(source, scale, memory_gb, cache)
            store.load_all()
            data = config.changed(degradations=operations)
            delivery = stack.enter_context(make_delivery(store, data, 0, 0))
            ways[name] = iter(delivery.batches())
        missing: Rates = {}
        try:
            from benchmarks.peers import torch_batches

            store = ImageStore(images, scale, 1e-9, cache)
            store.load_all()  # writes the LR images
            ways["PyTorch DataLoader, image files"] = torch_batches(store, config, usable_cores())
        except UserError as error:
            missing["PyTorch DataLoader, image files"] = str(error)
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(repeats):
            for name, batches in ways.items():
                rates[name].append(_rate(batches, seconds))
        return {**rates, **missing}


def pipeline_table(rates: Rates) -> list[list[str]]:
    """Returns the cells of a Markdown table, header first."""
    cells = [["patches from", "patches/s", "range"]]
    for name, found in rates.items():
        if isinstance(found, str):
            cells.append([name, found, ""])
        else:
            spread = f"{min(found):,.0f}–{max(found):,.0f}"
            cells.append([name, f"{np.median(found):,.0f}", spread])
    return cells


def _arrays(source: ImageSource, scale: int) -> tuple[Arrays, dict[str, Any]]:
    return read_pair(source, scale), {}


def _rate(batches: Iterator[Any], seconds: float) -> float:
    for _ in range(4):  # batches that were prepared before the clock starts
        next(batches)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        next(batches)
        count += _BATCH_SIZE
    return count / (time.perf_counter() - start)
