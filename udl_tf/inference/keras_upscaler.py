"""A trained model whose networks Keras runs."""

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np

from udl_tf.imaging.value_range import GREY_LEVELS, ValueRange
from udl_tf.inference.chain_runner import ChainRunner
from udl_tf.inference.passes import Pass
from udl_tf.inference.upscaler import Upscaler
from udl_tf.models.heads import LARGEST_THETA
from udl_tf.models.stages import Stage, chain_of
from udl_tf.uncertainty.record import Calibration, log_theta_line

Chain = Sequence[Stage]


@dataclass(frozen=True)
class Networks:
    """The networks of a trained model.

    Attributes:
        scale: HR size divided by LR size.
        mean: network lr -> {"sr", ...}, which computes the image.
        uncertainty: network lr -> {"log_scale", ...}, which computes theta, and may be the same
            one; None if no uncertainty was trained.
        unit, power: theta as trained is unit * exp(log_scale / power), in grey levels.
        calibration: corrects theta; None: theta stays as trained.
        policy: Keras dtype policy that the networks compute in.
        value_range: values of measurements that the networks see as 0 and 255.
    """

    scale: int
    mean: keras.Model
    uncertainty: keras.Model | None
    unit: float = 1.0
    power: float = 1.0
    calibration: Calibration | None = None
    policy: str = "float32"
    value_range: ValueRange = GREY_LEVELS

    @property
    def channels(self) -> int:
        """Number of channels of the images."""
        return self.mean.input_shape[-1]

    def build_chains(
        self, uncertainty: bool, bordered: bool
    ) -> list[tuple[tuple[str, ...], Chain]]:
        """Builds the chain of stages of each network that must run.

        Args:
            uncertainty: whether to compute the log scale too.
            bordered: whether the outermost pixels will be cut off; see udl_tf.models.stages.

        Returns:
            For each network (names of its outputs, the chain to them).
        """
        wanted = [(self.mean, ("sr",))]
        if uncertainty and self.uncertainty is self.mean:
            wanted = [(self.mean, ("sr", "log_scale"))]
        elif uncertainty and self.uncertainty is not None:
            wanted.append((self.uncertainty, ("log_scale",)))
        return [(names, chain_of(network, *names, bordered=bordered)) for network, names in wanted]

    @property
    def log_theta_line(self) -> tuple[np.ndarray, np.ndarray]:
        """(a, b) of ln theta = a + b log_scale, calibrated; each float32 (c,) or (1,)."""
        return log_theta_line(self.unit, self.power, self.calibration)

    def theta_of(self, log_scale: np.ndarray) -> np.ndarray:
        """Returns theta for a map (..., c) of s: calibrated, in grey levels, at most 255."""
        a, b = self.log_theta_line
        log_theta = np.minimum(a + b * log_scale, np.float32(math.log(LARGEST_THETA)))
        return np.exp(log_theta, dtype=np.float32)


class KerasUpscaler(Upscaler):
    """An Upscaler that runs Keras networks; threads that call it share batches.

    Args:
        networks: of the trained model.

    Attributes:
        networks: the same.
    """

    thread_safe = True

    def __init__(self, networks: Networks):
        self.networks = networks
        self.scale, self.channels = networks.scale, networks.channels
        self.calibration, self.value_range = networks.calibration, networks.value_range
        self._built: dict[tuple[bool, bool], list[Pass]] = {}
        self._building = threading.Lock()

    @property
    def has_uncertainty(self) -> bool:
        return self.networks.uncertainty is not None

    def _passes(self, uncertainty: bool, bordered: bool = False) -> Sequence[Pass]:
        key = (uncertainty, bordered)
        with self._building:
            if key not in self._built:
                chains = self.networks.build_chains(*key)
                self._built[key] = [Pass(ChainRunner(chain), names) for names, chain in chains]
            return self._built[key]

    def _theta_of(self, log_scale: np.ndarray) -> np.ndarray:
        return self.networks.theta_of(log_scale)
