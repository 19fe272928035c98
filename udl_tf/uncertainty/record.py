"""Result of a calibration, as stored with a model."""

import math
from itertools import pairwise
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from udl_tf.config import Section
from udl_tf.errors import UserError
from udl_tf.uncertainty.inputs import InputStatistics

HalfWidth = Annotated[float, Field(ge=0)]
"""Half width of intervals, in theta'."""

Channels = Annotated[list[float], Field(min_length=1, max_length=64)]
"""One number per channel."""


class Conformal(Section):
    """Conformal intervals of half width `factor` theta'.

    Attributes:
        alpha: guaranteed bound of the expected fraction of values outside.
        delta: probability that the guarantee fails.
        images: number of calibration images.
        factor: half width of the intervals, in theta'.
    """

    alpha: float
    delta: float
    images: int
    factor: HalfWidth


class Calibration(Section):
    """Calibrated theta' = exp(a + b ln theta) per channel, and the quantiles of |e|/theta'.

    Attributes:
        method: "scale" (b = 1, theta' = c theta) or "affine".
        a, b: coefficients per channel.
        levels: levels of the quantiles, ascending, between 0 and 1.
        factors: for each level, the quantiles of |e|/theta' per channel.
        conformal: conformal intervals, or None.
        data: names of the datasets of the fit.
        images: number of images of the fit.
        nodata_reach: LR pixels from nodata within which filling it changes sr by more than one grey
            level (udl_tf.inference.nodata_reach); None: not measured.
        consistent: whether it is for results of `upscale(consistent=True)`.
        inputs: statistics of the LR images of the fit; None: of measurements, too few or too small
            images, or a calibration by an earlier version.
    """

    method: Literal["scale", "affine"]
    a: Channels
    b: Channels
    levels: list[float]
    factors: list[list[HalfWidth]]
    conformal: Conformal | None = None
    data: str
    images: int
    nodata_reach: int | None = Field(default=None, ge=0)
    consistent: bool = False
    inputs: InputStatistics | None = None

    @property
    def channels(self) -> int:
        """Number of channels."""
        return len(self.a)

    def check_channels(self, channels: int) -> None:
        """Checks that the calibration fits a model.

        Args:
            channels: of the model's images.

        Raises:
            UserError: if the calibration has another number of channels.
        """
        if self.channels != channels:
            raise UserError(
                f"a calibration of {self.channels} channels: expected {channels}, those of the"
                " model: calibrate the model again"
            )

    @model_validator(mode="after")
    def _check_channels(self) -> Self:
        counts = {len(self.a), len(self.b), *map(len, self.factors)}
        if len(counts) > 1:
            raise ValueError(
                f"a, b and factors have {', '.join(map(str, sorted(counts)))} channels: expected as"
                " many of all: calibrate again"
            )
        return self

    @model_validator(mode="after")
    def _check_levels(self) -> Self:
        if not self.levels or len(self.levels) != len(self.factors):
            counts = f"{len(self.levels)} levels and {len(self.factors)} factors"
            raise ValueError(f"has {counts}: expected as many of both: calibrate again")
        bounds = [0, *self.levels, 1]
        if not all(low < high for low, high in pairwise(bounds)):
            raise ValueError("levels are not ascending between 0 and 1: calibrate again")
        return self

    def apply(self, log_theta: np.ndarray) -> np.ndarray:
        """Returns ln theta' for ln theta, both (..., c)."""
        return np.asarray(self.a, np.float32) + np.asarray(self.b, np.float32) * log_theta

    def quantile(self, level: float) -> np.ndarray:
        """Returns the half width of the interval that covers a fraction `level`.

        Returns:
            (c,), in theta' of each channel.

        Raises:
            UserError: for a level outside the measured ones.
        """
        if not self.levels[0] <= level <= self.levels[-1]:
            raise UserError(f"level {level}: expected {self.levels[0]}..{self.levels[-1]}")
        return self.quantiles(np.array([level]))[0]

    def quantiles(self, levels: np.ndarray) -> np.ndarray:
        """Returns the half widths of the intervals of several levels among the measured ones.

        Returns:
            (n, c), in theta' of each channel.
        """
        # Interpolated as for Laplace errors, linearly in -ln(1 - level).
        x, known = -np.log1p(-levels), -np.log1p(-np.array(self.levels))
        factors = np.array(self.factors)
        return np.stack([np.interp(x, known, column) for column in factors.T], axis=1)


def log_theta_line(
    unit: float, power: float, calibration: Calibration | None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the line ln theta = a + b s, calibrated.

    Args:
        unit, power: theta as trained is unit * exp(s / power), in grey levels.
        calibration: corrects theta; None: theta as trained.

    Returns:
        a and b, each float32: (c,), or (1,) without a calibration.
    """
    a, b = np.array([math.log(unit)]), np.array([1 / power])
    if calibration is not None:
        slope = np.array(calibration.b)
        a, b = np.array(calibration.a) + slope * a, slope * b
    return a.astype(np.float32), b.astype(np.float32)
