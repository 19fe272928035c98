"""Calibration of theta on errors of held-out images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from udl_tf.errors import UserError
from udl_tf.uncertainty.conformal import conformal_factor
from udl_tf.uncertainty.inputs import input_statistics
from udl_tf.uncertainty.laplace import LEVELS, fit_affine, fit_scale, laplace_nll, measured_factors
from udl_tf.uncertainty.record import Calibration, Conformal

_FOLDS = 5

Fit = Callable[[np.ndarray, np.ndarray], tuple[float, float]]
_FITS: dict[str, Fit] = {"scale": fit_scale, "affine": fit_affine}


@dataclass(frozen=True)
class Sample:
    """Errors and uncertainties at n pixels of one image, or of the planes of one file.

    Attributes:
        name: of the image or file.
        error: |hr - sr|, with sr of 8-bit images clipped to 0..255, float32 (n, c).
        log_theta: ln of theta as trained, float32 (n, c).
        baselines: other measures of uncertainty by name, float32 (n, c).
        key: hash of the HR image, equal for duplicates.
        groups: of pixels, by name, bool (n,); for example the classes of a label image.
        signs: of degradation of the LR image (udl_tf.uncertainty.inputs.measure_sizes); None: of
            measurements, or of an image that is too small.
    """

    name: str
    error: np.ndarray
    log_theta: np.ndarray
    baselines: dict[str, np.ndarray]
    key: int
    groups: Mapping[str, np.ndarray] = field(default_factory=dict)
    signs: np.ndarray | None = None


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
    if not _has_errors(samples):
        raise UserError(
            f"{data}: the error is zero everywhere in a channel, so that theta cannot be"
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
        inputs=input_statistics([sample.signs for sample in samples]),
    )
    if conformal is None:
        return calibration
    distinct = list({sample.key: sample for sample in samples}.values())
    ratios = [error_ratio([sample], a, b) for sample in distinct]
    alpha, delta = conformal
    factor = conformal_factor(ratios, alpha, delta)
    record = Conformal(alpha=alpha, delta=delta, images=len(distinct), factor=factor)
    return calibration.model_copy(update={"conformal": record})


def _has_errors(samples: Sequence[Sample]) -> bool:
    """Returns whether each channel has an error that is not zero."""
    return bool(np.all(pool(samples, "error").any(axis=0)))


def _fit(samples: Sequence[Sample], method: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns (a, b) of ln theta' = a + b ln theta, each (c,)."""
    error, log_theta = pool(samples, "error"), pool(samples, "log_theta")
    pairs = [_FITS[method](*columns) for columns in zip(error.T, log_theta.T, strict=True)]
    a, b = np.array(pairs).T
    return a, b


def pool(samples: Sequence[Sample], name: str) -> np.ndarray:
    """Returns an attribute of all samples as one array (n, c)."""
    return np.concatenate([getattr(sample, name) for sample in samples])


def members(samples: Sequence[Sample], group: str) -> np.ndarray:
    """Returns which pixels of all samples belong to a group, bool (n,)."""
    return np.concatenate(
        [sample.groups.get(group, np.zeros(len(sample.error), bool)) for sample in samples]
    )


def error_ratio(samples: Sequence[Sample], a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns |e|/theta' of all samples, (n, c), for ln theta' = a + b ln theta."""
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
    if not all(_has_errors(fitted) for fitted, _ in folds(samples)):
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
