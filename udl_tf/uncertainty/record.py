"""What a calibration found, as it is kept with the model."""

from typing import Literal

import numpy as np

from udl_tf.config import Section
from udl_tf.errors import UserError


class Conformal(Section):
    """The factor of theta that gives intervals with a guarantee."""

    alpha: float
    delta: float
    images: int
    factor: float


class Calibration(Section):
    """theta' = exp(a + b ln theta) for each channel, and the quantiles of |e|/theta'.

    Attributes:
        method: "scale" (b = 1, theta' = c theta) or "affine".
        a, b: for R, G, B.
        levels: of the quantiles.
        factors: for each level, the quantile of |e|/theta' for R, G, B.
        conformal: of theta', or None.
        data, images: what it was fitted on.
    """

    method: Literal["scale", "affine"]
    a: list[float]
    b: list[float]
    levels: list[float]
    factors: list[list[float]]
    conformal: Conformal | None = None
    data: str
    images: int

    def apply(self, log_theta: np.ndarray) -> np.ndarray:
        """ln theta' of ln theta, (..., 3)."""
        return np.asarray(self.a, np.float32) + np.asarray(self.b, np.float32) * log_theta

    def quantile(self, level: float) -> np.ndarray:
        """Half the width, in theta' of each channel, of the interval that holds a share `level`.

        Raises:
            UserError: for a level beyond those measured.
        """
        if not self.levels[0] <= level <= self.levels[-1]:
            raise UserError(f"level {level}: expected {self.levels[0]}..{self.levels[-1]}")
        # Between two levels as a Laplace error would: linear in -ln(1 - level).
        at, known = -np.log1p(-level), -np.log1p(-np.array(self.levels))
        factors = np.array(self.factors)
        return np.array([np.interp(at, known, column) for column in factors.T])
