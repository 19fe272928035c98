"""Result of super-resolution: image, uncertainty maps, intervals."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from udl_tf.errors import UserError
from udl_tf.imaging.dtypes import FULL_RANGE, gray_level
from udl_tf.imaging.resize import imresize
from udl_tf.uncertainty.inputs import above_limit
from udl_tf.uncertainty.record import Calibration

_SHARES = np.arange(1, 100, 2) / 100  # the middles of fifty equal shares
_PIXELS = 1000  # enough for a quantile to a few per cent, in less than a millisecond


@dataclass(frozen=True, repr=False)
class Upscaled:
    """An upscaled image with estimates of its errors.

    Attributes:
        image: (h, w), (h, w, c) or, for a stack of images, (n, h, w, c), in the dtype of the input;
            alpha last where the input has it.
        theta: float32 scale of the Laplace distribution of the error, per pixel and colour channel,
            in grey levels of 0..255, or in the unit of the value range that was given; None without
            uncertainty.
        spread: float32 standard deviation over the members of the self-ensemble, in grey levels and
            the shape of theta; None without self-ensemble.
        calibration: how theta was calibrated; None: theta is as trained.
        notes: lines about the computation, such as that memory ran out.
        value_range: black and white of an image of floats; of measurements, the smallest and
            largest value of the model's range.
        flags: uint8 (h, w) of measurements: 0 valid, 1 near nodata, where filling nodata changes
            the image by more than a grey level at more than one of a hundred pixels, 2 nodata in
            any channel; None for images.
        deviations: how far the input is from the images that theta was calibrated on, by sign of
            degradation (udl_tf.imaging.degradation_signs.SIGNS): above 1 unlike these, and theta is
            not reliable; for a stack, the largest of its images. None: not assessed, because theta
            is not computed, the input is a measurement or below 24 pixels per side, or the
            calibration has no statistics of its images.
    """

    image: np.ndarray
    theta: np.ndarray | None = None
    spread: np.ndarray | None = None
    calibration: Calibration | None = None
    notes: tuple[str, ...] = ()
    value_range: tuple[float, float] = FULL_RANGE
    flags: np.ndarray | None = None
    deviations: Mapping[str, float] | None = None

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.image.shape))
        text = f"Upscaled(image {shape} {self.image.dtype}"
        unit = " grey levels" if self.flags is None else ""
        if self.theta is not None:
            kind = "not calibrated" if self.calibration is None else "calibrated"
            text += f", mean theta {mean_of_known(self.theta):.3g}{unit} ({kind})"
        if self.spread is not None:
            text += f", mean spread {mean_of_known(self.spread):.3g}{unit}"
        return f"{text})"

    def _repr_html_(self) -> str:
        """Shows image and theta in notebooks."""
        from udl_tf.inference.display import result_html  # loads Matplotlib, which takes time

        return result_html(self)

    @property
    def total(self) -> np.ndarray | None:
        """Laplace scale of theta and spread combined: their variances are added."""
        if self.theta is None or self.spread is None:
            return None
        return np.sqrt(self.theta**2 + self.spread**2 / 2)  # a Laplace variance is 2 theta^2

    @property
    def unlike(self) -> tuple[str, ...]:
        """Signs of degradation by which the input is unlike the calibration images."""
        return above_limit(self.deviations or {})

    def members(self) -> list["Upscaled"]:
        """Returns the results of the images of a stack; [self] if it is a single image."""
        if self.image.ndim < 4:
            return [self]
        return [
            replace(
                self,
                image=image,
                theta=None if self.theta is None else self.theta[index],
                spread=None if self.spread is None else self.spread[index],
                flags=None if self.flags is None else self.flags[index],
            )
            for index, image in enumerate(self.image)
        ]

    def resized(self, size: tuple[int, int]) -> "Upscaled":
        """Resizes the image and its maps to (height, width) by bicubic interpolation.

        Shrinking averages pixels, whose errors partly cancel: theta is then an upper bound.

        Raises:
            UserError: for measurements, whose nodata cannot be interpolated.
        """
        if self.flags is not None:
            raise UserError("a result of measurements has the model's scale only: omit the size")
        if self.image.ndim == 4:
            return stacked([member.resized(size) for member in self.members()])
        image = imresize(self.image, size=size)
        if np.issubdtype(image.dtype, np.floating):
            image = image.clip(*self.value_range)  # the kernel overshoots
        return replace(
            self,
            image=image,
            theta=_resized_map(self.theta, size),
            spread=_resized_map(self.spread, size),
        )

    def interval(self, level: float) -> tuple[np.ndarray, np.ndarray]:
        """Returns bounds that contain the true value at a share `level` of the pixels.

        Args:
            level: in 0.01..0.999.

        Returns:
            (low, high): float32, in the unit of the image and the shape of theta. Half the width is
            theta times the quantile of |error|/theta that the calibration measured.

        Raises:
            UserError: for a level outside this range, or a model that is not calibrated.
        """
        return self._around(self._factors(level))

    def half_width(self, level: float) -> float:
        """Returns the half width, equal for all pixels, that covers a share `level` of all values.

        Args:
            level: in 0.01..0.98.

        Returns:
            Half width in the unit of theta: a share `level` of all true values is expected to
            differ from the image by at most this.

        Raises:
            UserError: as `interval`.
        """
        if not _SHARES[0] <= level < _SHARES[-1]:
            raise UserError(f"level {level}: expected {_SHARES[0]}..0.98")
        levels, theta = self._calibrated().levels, self.theta
        assert theta is not None
        shares = np.clip(_SHARES, levels[0], levels[-1])  # beyond the measured levels: the nearest
        factors = self._calibrated().quantiles(shares)
        if theta.ndim < 3 or theta.shape[-1] == 1:
            factors = factors.mean(axis=1, keepdims=True)
        rows = theta.reshape(-1, factors.shape[1])
        if self.flags is not None:
            rows = rows[np.isfinite(rows).all(axis=1)]
        if not len(rows):
            return math.nan
        pixels = np.random.default_rng(0).integers(len(rows), size=_PIXELS)
        # Equally probable errors: at each pixel the quantiles of |error|/theta, times theta.
        errors = rows[pixels, None] * factors
        return float(np.quantile(errors, level, method="hazen"))

    def conformal_interval(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the bounds with the conformal guarantee that the model was calibrated for.

        Returns:
            (low, high): as for `interval`.

        Raises:
            UserError: if it was calibrated without a conformal guarantee.
        """
        conformal = self._calibrated().conformal
        if conformal is None:
            raise UserError(
                "the model has no conformal factor: calibrate it with a guarantee,"
                " conformal=(alpha, delta)",
                argument="conformal",
            )
        return self._around(np.full(1, conformal.factor))

    def _calibrated(self) -> Calibration:
        if self.theta is None or self.calibration is None:
            raise UserError(
                "the result has no calibrated theta: calibrate the model, and upscale with"
                " uncertainty"
            )
        return self.calibration

    def _factors(self, level: float) -> np.ndarray:
        """Returns the quantiles of |error|/theta, one per channel of theta."""
        factors, theta = self._calibrated().quantile(level), self.theta
        assert theta is not None
        gray = theta.ndim < 3 or theta.shape[-1] == 1
        return factors.mean(keepdims=True) if gray else factors

    def _around(self, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        theta, image = self.theta, self.image
        assert theta is not None
        center = image if image.ndim == 2 else image[..., : theta.shape[-1]]
        unit = gray_level(image.dtype) if self.flags is None else 1.0
        half = (theta * factors * unit).astype(np.float32)
        return center - half, center + half


def mean_of_known(values: np.ndarray) -> float:
    """Returns the mean of the values that are not NaN."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else math.nan


def stacked(results: list[Upscaled]) -> Upscaled:
    """Stacks the results of several images of one size along a new first axis."""
    first = results[0]

    def stack(name: str) -> np.ndarray | None:
        values = [getattr(result, name) for result in results]
        return None if values[0] is None else np.stack(values)

    image = stack("image")
    assert image is not None
    notes = dict.fromkeys(note for result in results for note in result.notes)
    maps = {name: stack(name) for name in ("theta", "spread", "flags")}
    return replace(first, image=image, notes=tuple(notes), deviations=_largest(results), **maps)


def _largest(results: list[Upscaled]) -> dict[str, float] | None:
    """Returns the largest deviation in each sign of degradation."""
    found = [result.deviations for result in results if result.deviations is not None]
    return {name: max(one[name] for one in found) for name in found[0]} if found else None


def _resized_map(values: np.ndarray | None, size: tuple[int, int]) -> np.ndarray | None:
    if values is None:
        return None
    resized = imresize(values, size=size)
    # The bicubic kernel overshoots; theta must stay positive.
    return np.clip(resized, values.min(), values.max(), out=resized)
