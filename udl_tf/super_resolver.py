"""A trained model as Keras networks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import keras
import numpy as np

from udl_tf.calibration import Calibration
from udl_tf.inference import ChainRunner
from udl_tf.upscaler import Pass, Upscaler


@dataclass(frozen=True)
class SuperResolver(Upscaler):
    """A trained model: its mean network makes the picture, its uncertainty network theta.

    Attributes:
        scale: HR over LR size.
        mean: network lr -> {"sr", ...}.
        uncertainty: network lr -> {"log_scale", ...}, or None if none was trained.
        unit, power: theta as trained is unit * exp(log_scale / power).
        calibration: makes the calibrated theta of it; None: theta stays as trained.
    """

    scale: int
    mean: keras.Model
    uncertainty: keras.Model | None
    unit: float = 1.0
    power: float = 1.0
    calibration: Calibration | None = None

    @property
    def has_uncertainty(self) -> bool:
        return self.uncertainty is not None

    def passes(self, uncertainty: bool) -> Sequence[Pass]:
        passes = [Pass(self._mean_runner, {"sr": np.asarray})]
        if uncertainty and self.has_uncertainty:
            passes.append(Pass(self._theta_runner, {"theta": self._theta}))
        return passes

    @property
    def log_theta_line(self) -> tuple[np.ndarray, np.ndarray]:
        """(a, b): ln theta = a + b log_scale, calibrated; float32, one a channel."""
        a, b = np.full(3, math.log(self.unit)), np.full(3, 1 / self.power)
        if self.calibration is not None:
            slope = np.array(self.calibration.b)
            a, b = np.array(self.calibration.a) + slope * a, slope * b
        return a.astype(np.float32), b.astype(np.float32)

    def _theta(self, log_scale: np.ndarray) -> np.ndarray:
        a, b = self.log_theta_line
        return np.exp(a + b * log_scale, dtype=np.float32)

    @cached_property
    def _mean_runner(self) -> ChainRunner:
        return ChainRunner(self.mean.stages("sr"))

    @cached_property
    def _theta_runner(self) -> ChainRunner:
        assert self.uncertainty is not None
        return ChainRunner(self.uncertainty.stages("log_scale"))
