"""Fits a model's theta to held-out images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from udl_tf import uncertainty as cal
from udl_tf._support.progress import Progress, no_progress
from udl_tf.data.sources import ImageSource
from udl_tf.data.store import read_pair
from udl_tf.errors import UserError
from udl_tf.imaging.resize import imresize
from udl_tf.inference.keras_upscaler import KerasUpscaler
from udl_tf.inference.upscaler import BORDER
from udl_tf.uncertainty import LEVELS, Calibration, Conformal

_FOLDS = 5
_MOST_PIXELS = 1_000_000  # of a set; beyond, they are drawn
_GRADIENT, _SPREAD = "gradient of bicubic", "self-ensemble spread"

Fit = Callable[[np.ndarray, np.ndarray], tuple[float, float]]
_FITS: dict[str, Fit] = {"scale": cal.fit_scale, "affine": cal.fit_affine}


@dataclass(frozen=True)
class Sample:
    """Pixels of one image.

    Attributes:
        name: of the image.
        error: |hr - sr| with sr clipped to 0..255, float32 (n, 3).
        log_theta: ln of the theta as trained, likewise.
        baselines: name -> other measures of uncertainty, likewise.
        key: equal for equal images.
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
    """Error and uncertainty of a model on pictures, by the way that `upscale` goes.

    Args:
        model: with uncertainty; its calibration is left aside.
        pictures: HR images or pairs.
        baselines: whether to measure what anyone could use instead: the gradient of bicubic
            interpolation, and the spread of the self-ensemble (eight more passes).
        progress: gets the images that are done.

    Raises:
        UserError: for an unreadable image, or a model without uncertainty.
    """
    if not model.has_uncertainty:
        raise UserError("the model has no uncertainty to calibrate: train with an 'esu' step")
    raw = KerasUpscaler(replace(model.networks, calibration=None))
    sizes = [source.size for source in sources]
    share = min(1.0, _MOST_PIXELS / sum(height * width for height, width in sizes))
    samples = []
    for index, source in enumerate(sources):
        lr, hr = read_pair(source, model.scale)
        sr, theta = raw.predict(lr, BORDER)
        assert theta is not None
        maps = {"error": np.abs(hr - np.clip(sr, 0, 255)), "log_theta": np.log(theta)}
        if baselines:
            floats = lr.astype(np.float32)
            rows, columns = np.gradient(imresize(floats, model.scale), axis=(0, 1))
            maps[_GRADIENT] = np.hypot(rows, columns)
            spread = raw.upscale(floats, uncertainty=False, self_ensemble=True).spread
            assert spread is not None
            maps[_SPREAD] = spread
        count = hr.shape[0] * hr.shape[1]
        pixels = np.random.default_rng(index).permutation(count)[: max(1, round(share * count))]
        drawn = {k: v.reshape(-1, 3)[pixels].astype(np.float32) for k, v in maps.items()}
        error, log_theta = drawn.pop("error"), drawn.pop("log_theta")
        samples.append(Sample(source.hr.name, error, log_theta, drawn, hash(hr.tobytes())))
        progress(index + 1, len(sources), source.hr.name)
    return samples


def calibrate(
    samples: Sequence[Sample],
    data: str,
    method: Literal["auto", "scale", "affine"] = "auto",
    conformal: tuple[float, float] | None = None,
) -> Calibration:
    """Fits theta' = c theta or theta' = exp(a + b ln theta) for each channel.

    Args:
        samples: of held-out images.
        data: what they are, in words.
        method: "auto" takes the second only if it is better on images that a fit did not see, by
            more than the standard error over these; never with fewer than five images.
        conformal: (alpha, delta) of the guarantee to find a factor for, or None.

    Raises:
        UserError: if there is no error at all, or for too few distinct images for `conformal`.
    """
    if not np.all(pool(samples, "error").any(axis=0)):
        raise UserError(f"{data}: no error in a whole colour channel; expected ordinary pictures")
    method = _better(samples) if method == "auto" else method
    a, b = _fit(samples, method)
    found = Calibration(
        method=method,
        a=a.tolist(),
        b=b.tolist(),
        levels=LEVELS.tolist(),
        factors=cal.measured_factors(error_ratio(samples, a, b)).tolist(),
        data=data,
        images=len(samples),
    )
    if conformal is None:
        return found
    distinct = list({sample.key: sample for sample in samples}.values())
    ratios = [error_ratio([sample], a, b) for sample in distinct]
    alpha, delta = conformal
    factor = cal.conformal_factor(ratios, alpha, delta)
    record = Conformal(alpha=alpha, delta=delta, images=len(distinct), factor=factor)
    return found.model_copy(update={"conformal": record})


def _fit(samples: Sequence[Sample], method: str) -> tuple[np.ndarray, np.ndarray]:
    error, log_theta = pool(samples, "error"), pool(samples, "log_theta")
    pairs = [_FITS[method](error[:, c], log_theta[:, c]) for c in range(3)]
    a, b = np.array(pairs).T
    return a, b


def pool(samples: Sequence[Sample], name: str) -> np.ndarray:
    """The values of all samples, (n, 3)."""
    return np.concatenate([getattr(sample, name) for sample in samples])


def error_ratio(samples: Sequence[Sample], a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|e|/theta' of all samples, (n, 3)."""
    return pool(samples, "error") / np.exp(a + b * pool(samples, "log_theta"))


def folds(samples: Sequence[Sample]) -> list[tuple[list[Sample], list[Sample]]]:
    """(fitted, judged) samples, every image judged once; all of them where there is but one."""
    count = min(_FOLDS, len(samples))
    if count < 2:
        return [(list(samples), list(samples))]
    parts = [list(samples[i::count]) for i in range(count)]
    return [([s for p in parts if p is not part for s in p], part) for part in parts]


def _better(samples: Sequence[Sample]) -> Literal["scale", "affine"]:
    if len(samples) < _FOLDS:  # two numbers from so few images may run wild
        return "scale"
    gains = []
    for fitted, judged in folds(samples):
        fits = [_fit(fitted, method) for method in ("scale", "affine")]
        for sample in judged:
            scale, affine = (
                cal.laplace_nll(sample.error, np.exp(a + b * sample.log_theta)) for a, b in fits
            )
            gains.append(scale - affine)
    error = np.std(gains, ddof=1) / np.sqrt(len(gains))
    return "affine" if np.mean(gains) > error else "scale"
