"""A trained model as Keras networks."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import keras
import numpy as np

from udl_tf.calibration import Calibration
from udl_tf.inference import ChainRunner
from udl_tf.models.stages import Stage
from udl_tf.upscaler import Pass, Runner, Upscaler

Chain = Sequence[Stage]


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
    _passes: dict[tuple[bool, bool], list[Pass]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def has_uncertainty(self) -> bool:
        return self.uncertainty is not None

    def chains(self, uncertainty: bool, bordered: bool) -> list[tuple[tuple[str, ...], Chain]]:
        """What must run: outputs of a network, and its chain of stages to them.

        Args:
            uncertainty, bordered: as for `passes`.
        """
        wanted = [(self.mean, ("sr",))]
        if uncertainty and self.uncertainty is self.mean:
            wanted = [(self.mean, ("sr", "log_scale"))]
        elif uncertainty and self.uncertainty is not None:
            wanted.append((self.uncertainty, ("log_scale",)))
        return [(names, network.stages(*names, bordered=bordered)) for network, names in wanted]

    def passes(self, uncertainty: bool, bordered: bool = False) -> Sequence[Pass]:
        key = (uncertainty, bordered)
        if key not in self._passes:
            self._passes[key] = self.make_passes(ChainRunner, *key)
        return self._passes[key]

    def make_passes(
        self, make_runner: Callable[[Chain], Runner], uncertainty: bool, bordered: bool
    ) -> list[Pass]:
        """New passes, with what `make_runner` makes of the chains."""
        maps = {"sr": ("sr", np.asarray), "log_scale": ("theta", self._theta)}
        return [
            Pass(make_runner(chain), dict(maps[name] for name in names))
            for names, chain in self.chains(uncertainty, bordered)
        ]

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
