"""Cache of s of whole training images, computed once instead of for every patch."""

import hashlib
import os
import shutil
import sys
import time
import zlib
from datetime import timedelta
from functools import partial
from logging import getLogger
from pathlib import Path
from typing import Any

import keras
import numpy as np

from udl_tf._support.command_line import progress_bar
from udl_tf._support.progress import Pace, Progress
from udl_tf.config import Config
from udl_tf.data.draws import HRMap
from udl_tf.data.pack import Arrays, write_pack
from udl_tf.data.store import ImageStore
from udl_tf.imaging.dtypes import to_dtype
from udl_tf.inference.chain_runner import ChainRunner
from udl_tf.inference.passes import Effort, Pass, compute_maps
from udl_tf.inference.self_ensemble import MEMBERS, mean_and_spread
from udl_tf.inference.upscaler import BORDER
from udl_tf.models.stages import chain_of

log = getLogger(__name__)


def decide_cache(config: Config, store: ImageStore, folder: Path) -> tuple[bool, list[str]]:
    """Decides on training.cache_uncertainty "auto".

    Caching pays if the frozen network computes fewer pixels for the maps (each training image eight
    times) than for every patch of every update. The maps must fit into half of the
    free disk space, and into `data.memory_gb`, because patches are cut from random images.

    Args:
        config: the resolved config.
        store: training images.
        folder: where the maps would be.

    Returns:
        (decision, its reason for the log; none if no step is weighted by uncertainty).
    """
    steps = [step for step in config.steps if step.weighted_by_uncertainty]
    if not steps:
        return False, []
    if config.data.degradations:
        return False, ["uncertainty is not cached: data.degradations change the patches at random"]
    updates = sum(step.updates for step in steps)
    sizes = [source.size for source in store.sources]
    images = sum(
        (h // store.scale + 2 * BORDER) * (w // store.scale + 2 * BORDER) for h, w in sizes
    )
    patch = (config.data.hr_patch_size // store.scale) ** 2
    equal = len(steps) * MEMBERS * images / (patch * config.data.batch_size)  # updates
    gigabytes = 1e-9 * store.pixels.channels * sum(h * w for h, w in sizes)
    free = _free_gigabytes(folder)
    s_of_all = f"s of {len(store)} training images"
    size, cost = f"{gigabytes:,.1f} GB", f"as much as the frozen network in {equal:,.0f} updates"
    if equal < updates and gigabytes <= min(free / 2, config.data.memory_gb):
        return True, [
            f"uncertainty is cached in {folder} ({size}): {s_of_all} costs {cost}; there are"
            f" {updates:,}"
        ]
    if equal >= updates:
        reason = f"cost {cost}; there are {updates:,}"
    elif gigabytes > free / 2:
        reason = f"need {size}; {folder} has {free:,.1f} GB of free space"
    else:
        reason = f"need {size}; data.memory_gb is {config.data.memory_gb:g}"
    return False, [f"uncertainty is not cached: {s_of_all} would {reason}"]


def _free_gigabytes(folder: Path) -> float:
    existing = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    return shutil.disk_usage(existing).free / 1e9


def cache_path(network: keras.Model, store: ImageStore, folder: Path, run: Path) -> Path:
    """Returns the path of the maps in a cache folder: a name for a run, its weights and images.

    Another run, which may have the same weights and images, writes and deletes maps of its own.
    """
    return folder / f"uncertainty-{_key(network, store, run)}"


def cached_log_scale(network: keras.Model, store: ImageStore, path: Path) -> HRMap:
    """Returns maps of s for `data.draws.cut_batch`; computes those that the cache lacks.

    A map is the mean over the eight flips and rotations of an image, because patches are flipped
    and transposed at random; images are mirrored at their border. The values differ slightly from
    those that the network computes for a patch, of which it sees one orientation, with zeros beyond
    its border. Maps are stored in 256 levels from their minimum to their maximum.

    Args:
        network: lr -> {"log_scale", ...}.
        store: training images.
        path: `cache_path` of both.
    """
    log.info("uncertainty of %d training images: %s", len(store), path)
    chain = ChainRunner(chain_of(network, "log_scale", bordered=True))
    items = [
        (source.title, partial(_quantized, chain, store, index))
        for index, source in enumerate(store.sources)
    ]
    with progress_bar("images") as bar:
        pack = write_pack(path, {"scale": store.scale}, items, _logged(bar))

    def hr_map(index: int) -> tuple[np.ndarray, float, float]:
        facts = pack.entries[index]["facts"]
        return pack.arrays(index)[0], facts["low"], facts["unit"]

    return hr_map


def _logged(bar: Progress) -> Progress:
    """Returns a Progress that draws a bar, or without a terminal logs the time left."""
    start = time.monotonic()
    pace = Pace(start)

    def report(done: float, total: float | None, label: str = "") -> None:
        bar(done, total, label)
        now = time.monotonic()
        if pace.due(now) and total is not None and not sys.stderr.isatty():
            left = timedelta(seconds=round((now - start) / done * (total - done)))
            log.info("uncertainty: %d of %d images, %s left", done, total, left)

    return report


def _quantized(chain: ChainRunner, store: ImageStore, index: int) -> tuple[Arrays, dict[str, Any]]:
    """Returns s of an image in 256 levels, with its minimum and the size of a level."""
    lr = store.pair(index)[0].astype(np.float32, copy=False)
    one = Pass(chain, ("log_scale",))
    means, _ = mean_and_spread(lr, lambda x: compute_maps(one, x, store.scale, BORDER, Effort()))
    s = means["log_scale"]
    low = float(s.min())
    unit = (float(s.max()) - low) / 255 or 1.0
    return [to_dtype((s - low) / unit, np.uint8)], {"low": low, "unit": unit}


def _key(network: keras.Model, store: ImageStore, run: Path) -> str:
    key = hashlib.sha256(os.fsencode(run.resolve()))
    for value in network.get_weights():
        key.update(np.ascontiguousarray(value).data)
    for lr, _ in store.pairs():
        key.update(zlib.crc32(np.ascontiguousarray(lr).data).to_bytes(4))
    return key.hexdigest()[:16]
