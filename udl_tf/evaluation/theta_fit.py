"""Calibration of a model's theta on held-out images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from udl_tf._support.progress import Progress, no_progress
from udl_tf.data.sources import ImageSource
from udl_tf.data.store import read_pair
from udl_tf.errors import UserError
from udl_tf.imaging.resize import imresize
from udl_tf.inference.keras_upscaler import KerasUpscaler
from udl_tf.inference.upscaler import BORDER
from udl_tf.uncertainty import (
    LEVELS,
    Calibration,
    Conformal,
    conformal_factor,
    fit_affine,
    fit_scale,
    laplace_nll,
    measured_factors,
)

_FOLDS = 5
_MOST_PIXELS = 1_000_000  # per set; larger sets are subsampled at random
_GRADIENT, _SPREAD = "gradient of bicubic", "self-ensemble spread"

Fit = Callable[[np.ndarray, np.ndarray], tuple[float, float]]
_FITS: dict[str, Fit] = {"scale": fit_scale, "affine": fit_affine}


@dataclass(frozen=True)
class Sample:
    """Errors and uncertainties at n pixels of one image.

    Attributes:
        name: of the image.
        error: |hr - sr| with sr clipped to 0..255, float32 (n, 3).
        log_theta: ln of theta as trained, float32 (n, 3).
        baselines: other measures of uncertainty by name, float32 (n, 3).
        key: hash of the HR image, equal for duplicates.
    """

    name: str
    error: np.ndarray
    log_theta: np.ndarray
    baselines: dict[str, np.ndarray]
    key: int


def measure(
    model: KerasUpscaler,
    sources: Sequence[ImageSource],
    baselines: bool = True,
    progress: Progress = no_progress,
) -> list[Sample]:
    """Measures error and uncertainty of a model on images, computed as `upscale` computes them.

    Args:
        model: with uncertainty; its calibration is ignored.
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


def calibrate(
    samples: Sequence[Sample],
    data: str,
    method: Literal["auto", "scale", "affine"] = "auto",
    conformal: tuple[float, float] | None = None,
) -> Calibration:
    """Fits theta' = c theta or theta' = exp(a + b ln theta) for each channel.

    Args:
        samples: of held-out images.
        data: description of the images, stored with the calibration.
        method: "scale" is the first form, "affine" the second. "auto" chooses the second if its
            likelihood is better on images that were not fitted, by more than the standard error
            over these images; never with fewer than five images.
        conformal: (alpha, delta) of the guarantee for conformal intervals, or None.

    Raises:
        UserError: if the error is zero everywhere in a channel, or for too few distinct images for
            `conformal`.
    """
    if not np.all(pool(samples, "error").any(axis=0)):
        raise UserError(
            f"{data}: the error is zero everywhere in a colour channel, so that theta cannot be"
            " calibrated: use natural images"
        )
    method = _better(samples) if method == "auto" else method
    a, b = _fit(samples, method)
    calibration = Calibration(
        method=method,
        a=a.tolist(),
        b=b.tolist(),
        levels=LEVELS.tolist(),
        factors=measured_factors(error_ratio(samples, a, b)).tolist(),
        data=data,
        images=len(samples),
    )
    if conformal is None:
        return calibration
    distinct = list({sample.key: sample for sample in samples}.values())
    ratios = [error_ratio([sample], a, b) for sample in distinct]
    alpha, delta = conformal
    factor = conformal_factor(ratios, alpha, delta)
    record = Conformal(alpha=alpha, delta=delta, images=len(distinct), factor=factor)
    return calibration.model_copy(update={"conformal": record})


def _fit(samples: Sequence[Sample], method: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns (a, b) of ln theta' = a + b ln theta, each (3,)."""
    error, log_theta = pool(samples, "error"), pool(samples, "log_theta")
    pairs = [_FITS[method](error[:, c], log_theta[:, c]) for c in range(3)]
    a, b = np.array(pairs).T
    return a, b


def pool(samples: Sequence[Sample], name: str) -> np.ndarray:
    """Returns an attribute of all samples as one array (n, 3)."""
    return np.concatenate([getattr(sample, name) for sample in samples])


def error_ratio(samples: Sequence[Sample], a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns |e|/theta' of all samples, (n, 3), for ln theta' = a + b ln theta."""
    return pool(samples, "error") / np.exp(a + b * pool(samples, "log_theta"))


def folds(samples: Sequence[Sample]) -> list[tuple[list[Sample], list[Sample]]]:
    """Splits samples for cross-validation, at most five-fold.

    Returns:
        (fitted, validated) samples of each fold. Every sample is validated once. A single sample is
        both fitted and validated.
    """
    count = min(_FOLDS, len(samples))
    if count < 2:
        return [(list(samples), list(samples))]
    parts = [list(samples[i::count]) for i in range(count)]
    return [([s for p in parts if p is not part for s in p], part) for part in parts]


def _better(samples: Sequence[Sample]) -> Literal["scale", "affine"]:
    """Returns the method with the better likelihood in cross-validation."""
    if len(samples) < _FOLDS:  # two parameters per channel can overfit so few images
        return "scale"
    gains = []
    for fitted, validated in folds(samples):
        fits = [_fit(fitted, method) for method in ("scale", "affine")]
        for sample in validated:
            scale, affine = (
                laplace_nll(sample.error, np.exp(a + b * sample.log_theta)) for a, b in fits
            )
            gains.append(scale - affine)
    error = np.std(gains, ddof=1) / np.sqrt(len(gains))
    return "affine" if np.mean(gains) > error else "scale"
