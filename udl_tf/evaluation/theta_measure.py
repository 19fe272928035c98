"""Measures error and theta of a model on images, for calibration and its report."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from udl_tf._support.progress import Progress, no_progress
from udl_tf.data.sources import ImageSource
from udl_tf.data.store import read_pair
from udl_tf.errors import UserError
from udl_tf.imaging.resize import imresize
from udl_tf.inference.keras_upscaler import KerasUpscaler
from udl_tf.inference.upscaler import BORDER
from udl_tf.uncertainty.fit import Sample

_MOST_PIXELS = 1_000_000  # per set; larger sets are subsampled at random
_GRADIENT, _SPREAD = "gradient of bicubic", "self-ensemble spread"


def measure(
    model: KerasUpscaler,
    sources: Sequence[ImageSource],
    baselines: bool = True,
    progress: Progress = no_progress,
) -> list[Sample]:
    """Measures error and uncertainty of a model on images, computed as `upscale` computes them.

    Args:
        model: a KerasUpscaler or an SRModel with uncertainty; its calibration is ignored.
        sources: HR images or pairs.
        baselines: whether to measure also what needs no training: the gradient of
            bicubic interpolation, and the spread of the self-ensemble (eight more passes).
        progress: receives the images that are done.

    Returns:
        A sample per image; together at most about a million pixels.

    Raises:
        UserError: for an unreadable image, or a model without uncertainty.
    """
    if not model.has_uncertainty:
        raise UserError("the model has no uncertainty to calibrate: train with an 'esu' step")
    as_trained = KerasUpscaler(replace(model.networks, calibration=None))
    sizes = [source.size for source in sources]
    share = min(1.0, _MOST_PIXELS / sum(height * width for height, width in sizes))
    samples = []
    for index, source in enumerate(sources):
        lr, hr = read_pair(source, model.scale)
        maps = _maps(as_trained, lr, hr, baselines)
        count = hr.shape[0] * hr.shape[1]
        pixels = np.random.default_rng(index).permutation(count)[: max(1, round(share * count))]
        drawn = {k: v.reshape(-1, 3)[pixels].astype(np.float32) for k, v in maps.items()}
        error, log_theta = drawn.pop("error"), drawn.pop("log_theta")
        samples.append(Sample(source.hr.name, error, log_theta, drawn, hash(hr.tobytes())))
        progress(index + 1, len(sources), source.hr.name)
    return samples


def _maps(
    model: KerasUpscaler, lr: np.ndarray, hr: np.ndarray, baselines: bool
) -> dict[str, np.ndarray]:
    """Returns "error", "log_theta" and, if asked for, the baselines of an image, each (h, w, 3)."""
    sr, theta = model.predict(lr, BORDER)
    assert theta is not None
    maps = {"error": np.abs(hr - np.clip(sr, 0, 255)), "log_theta": np.log(theta)}
    if baselines:
        floats = lr.astype(np.float32)
        rows, columns = np.gradient(imresize(floats, model.scale), axis=(0, 1))
        maps[_GRADIENT] = np.hypot(rows, columns)
        result = model.upscale(floats, uncertainty=False, self_ensemble=True, value_range=(0, 255))
        spread = result.spread
        assert spread is not None
        maps[_SPREAD] = spread
    return maps
