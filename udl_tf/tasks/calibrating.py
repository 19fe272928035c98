"""Calibration of a Keras model's theta on held-out batches."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from udl_tf.data.pixels import Pixels, without_holes
from udl_tf.errors import UserError
from udl_tf.inference.keras_upscaler import KerasUpscaler, Networks
from udl_tf.inference.upscaler import BORDER
from udl_tf.uncertainty.fit import Sample, calibrate
from udl_tf.uncertainty.inputs import measure_sizes
from udl_tf.uncertainty.record import Calibration

_MOST_PIXELS = 20_000  # per image, drawn at random


def fit_calibration(networks: Networks, batches: Any, data: str, **options: Any) -> Calibration:
    """Fits theta to the errors of networks on held-out images, computed as `upscale` does.

    Args:
        networks: with uncertainty; their calibration is ignored.
        batches: (lr, hr), or an iterable or keras.utils.PyDataset of these, in 0..255; NaN in
            measurements is nodata.
        data: description of the images, stored with the calibration.
        options: "method" and "conformal" of udl_tf.uncertainty.calibrate.

    Raises:
        UserError: if the networks have no uncertainty, images of a pair do not match, or no pixel
            of the images has data.
    """
    if networks.uncertainty is None:
        raise UserError("the model has no uncertainty to calibrate: train with the loss 'esu'")
    upscaler = KerasUpscaler(replace(networks, calibration=None))
    found = [_sample(upscaler, lr, hr, index) for index, (lr, hr) in enumerate(_pairs(batches))]
    samples = [sample for sample in found if len(sample.error)]
    if not samples:
        raise UserError("no images to calibrate on: expected at least one pair (lr, hr) with data")
    return calibrate(samples, data, **options)


def _pairs(batches: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields (lr, hr) of each image."""
    if isinstance(batches, keras.utils.PyDataset):
        dataset = batches
        batches = (dataset[index] for index in range(dataset.num_batches or 0))
    elif isinstance(batches, tuple) or (
        isinstance(batches, list) and batches and hasattr(batches[0], "shape")
    ):
        batches = [batches]
    assert isinstance(batches, Iterable)
    for batch in batches:
        lr, hr, *_ = batch
        lr, hr = keras.ops.convert_to_numpy(lr), keras.ops.convert_to_numpy(hr)
        if len(lr) != len(hr):
            raise UserError(f"{len(lr)} images in lr and {len(hr)} in hr: expected pairs")
        yield from zip(lr, hr, strict=True)


def _sample(upscaler: KerasUpscaler, lr: np.ndarray, hr: np.ndarray, index: int) -> Sample:
    """Returns error and theta at pixels of an image with data in every channel."""
    expected = *(upscaler.scale * side for side in lr.shape[:2]), *lr.shape[2:]
    if hr.shape != expected:
        raise UserError(
            f"pair {index}: hr of shape {hr.shape} with lr of shape {lr.shape}; expected {expected}"
        )
    measured = Pixels.seen_by(upscaler).measured
    if measured:
        lr = without_holes(lr)
    sr, theta = upscaler.predict(lr, BORDER)
    assert theta is not None
    shown = sr if measured else np.clip(sr, 0, 255)
    known = np.flatnonzero(np.isfinite(hr).all(axis=-1))
    pixels = np.random.default_rng(index).permutation(known)[:_MOST_PIXELS]
    error, log_theta = (
        values.reshape(-1, sr.shape[-1])[pixels]
        for values in (np.abs(hr.astype(np.float32) - shown), np.log(theta))
    )
    signs = None if measured else measure_sizes(lr)
    return Sample(f"{index}", error, log_theta, {}, hash(hr.tobytes()), signs=signs)
