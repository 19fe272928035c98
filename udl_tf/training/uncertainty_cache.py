"""Cache of s of whole training images, computed once instead of for every patch."""

import hashlib
import zlib
from functools import partial
from logging import getLogger
from pathlib import Path
from typing import Any

import keras
import numpy as np

from udl_tf._support.command_line import progress_bar
from udl_tf.data.draws import HRMap
from udl_tf.data.pack import Arrays, write_pack
from udl_tf.data.store import ImageStore
from udl_tf.imaging.dtypes import to_dtype
from udl_tf.inference.chain_runner import ChainRunner
from udl_tf.inference.passes import Effort, Pass, compute_maps
from udl_tf.inference.self_ensemble import mean_and_spread
from udl_tf.inference.upscaler import BORDER

log = getLogger(__name__)


def cached_log_scale(network: keras.Model, store: ImageStore, folder: Path) -> HRMap:
    """Returns maps of s for `draw_batch`; computes those that the cache lacks.

    A map is the mean over the eight flips and rotations of an image, because patches are flipped
    and transposed at random; images are mirrored at their border. The values differ slightly from
    those that the network computes for a patch, of which it sees one orientation, with zeros beyond
    its border. Maps are stored in 256 levels from their minimum to their maximum.

    Args:
        network: lr -> {"log_scale", ...}.
        store: training images.
        folder: folder of the cache; the name of the file depends on the weights and the images.
    """
    path = folder / f"uncertainty-{_key(network, store)}"
    log.info("uncertainty of %d training images: %s", len(store), path)
    chain = ChainRunner(network.build_chain("log_scale", bordered=True))
    items = [
        (source.hr.name, partial(_quantized, chain, store, index))
        for index, source in enumerate(store.sources)
    ]
    with progress_bar("images") as progress:
        pack = write_pack(path, {"scale": store.scale}, items, progress)

    def hr_map(index: int) -> tuple[np.ndarray, float, float]:
        facts = pack.entries[index]["facts"]
        return pack.arrays(index)[0], facts["low"], facts["unit"]

    return hr_map


def _quantized(chain: ChainRunner, store: ImageStore, index: int) -> tuple[Arrays, dict[str, Any]]:
    """Returns s of an image in 256 levels, with its minimum and the size of a level."""
    lr = store.pair(index)[0].astype(np.float32)
    one = Pass(chain, ("log_scale",))
    means, _ = mean_and_spread(lr, lambda x: compute_maps(one, x, store.scale, BORDER, Effort()))
    s = means["log_scale"]
    low = float(s.min())
    unit = (float(s.max()) - low) / 255 or 1.0
    return [to_dtype((s - low) / unit, np.uint8)], {"low": low, "unit": unit}


def _key(network: keras.Model, store: ImageStore) -> str:
    weights = hashlib.sha256()
    for value in network.get_weights():
        weights.update(np.ascontiguousarray(value).data)
    for lr, _ in store.pairs():
        weights.update(zlib.crc32(np.ascontiguousarray(lr).data).to_bytes(4))
    return weights.hexdigest()[:16]
