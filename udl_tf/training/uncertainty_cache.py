"""s of whole training images, made once by the frozen network instead of once for every patch."""

import hashlib
import zlib
from logging import getLogger
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from udl_tf.data.pipeline import HRMap
from udl_tf.data.records import Records, record_writer
from udl_tf.data.store import ImageStore
from udl_tf.inference import ChainRunner
from udl_tf.self_ensemble import mean_and_spread
from udl_tf.super_resolver import SuperResolver
from udl_tf.upscaler import BORDER, Pass

log = getLogger(__name__)


def cached_log_scale(network: keras.Model, store: ImageStore, folder: Path) -> HRMap:
    """Maps of s for `training_batches`, made now or, with the same weights and images, before.

    A map is the mean over the eight flips and rotations of an image, so that it fits each of them,
    and the image is mirrored at its border. In a patch the network itself would see zeros beyond
    the patch and one orientation, which makes s a little different. Maps are kept in 256 steps from
    their least to their largest value.

    Args:
        network: lr -> {"log_scale", ...}.
        store: the training images.
        folder: that keeps the maps, under a name made of the weights and the images.
    """
    path = folder / f"uncertainty-{_key(network, store)}"
    model = SuperResolver(store.scale, network, network)
    chain = ChainRunner(network.stages("log_scale", bordered=True))
    step, keep = Pass(chain, {"log_scale": np.asarray}), {"log_scale": np.asarray}

    def run(lr: np.ndarray) -> dict[str, np.ndarray]:
        return model.run_pass(step, lr, keep, BORDER)

    with record_writer(path) as writer:
        left = range(len(writer.done), len(store))
        if left:
            log.info("uncertainty of %d training images, to be made once: %s", len(left), path)
        for index in tqdm(left, unit="image", disable=None):
            lr = store.pair(index)[0].astype(np.float32)
            means, _ = mean_and_spread(lr, run)
            s = means["log_scale"]
            low = float(s.min())
            unit = (float(s.max()) - low) / 255 or 1.0
            steps = np.round((s - low) / unit).astype(np.uint8)
            writer.add(store.pictures[index].hr.name, [steps], low=low, unit=unit)
    records = Records(path)

    def hr_map(index: int) -> tuple[np.ndarray, float, float]:
        facts = records.entries[index].facts
        return records.arrays(index)[0], facts["low"], facts["unit"]

    return hr_map


def _key(network: keras.Model, store: ImageStore) -> str:
    weights = hashlib.sha256()
    for value in network.get_weights():
        weights.update(np.ascontiguousarray(value).data)
    for lr, _ in store.pairs():
        weights.update(zlib.crc32(np.ascontiguousarray(lr).data).to_bytes(4))
    return weights.hexdigest()[:16]
