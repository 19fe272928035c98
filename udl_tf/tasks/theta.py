"""Last layer of a model with uncertainty: theta from the log scale s, calibrated."""

import math
from typing import Any

import keras
from keras import ops

from udl_tf.models.heads import LARGEST_THETA
from udl_tf.uncertainty.record import Calibration, log_theta_line


@keras.saving.register_keras_serializable("udl_tf")
class Theta(keras.layers.Layer):
    """theta = min(255, exp(a + b s)), the predicted Laplace scale of the error, in grey levels.

    a and b come from the unit and power of the loss that trained s, and from the calibration, which
    the layer stores, so that saved and exported models agree.

    Args:
        unit: theta as trained is unit * exp(s / power); see udl_tf.losses.
        power: see `unit`.
        calibration: corrects theta; None: theta stays as trained.

    Call arguments:
        log_scale: s, float (n, h, w, c).

    Returns:
        theta, float32, of the same shape.
    """

    def __init__(
        self,
        unit: float = 1.0,
        power: float = 1.0,
        calibration: Calibration | None = None,
        name: str = "theta",
        **kwargs,
    ):
        super().__init__(name=name, dtype="float32", **kwargs)
        self.unit, self.power, self.calibration = unit, power, calibration

    def call(self, log_scale):
        a, b = log_theta_line(self.unit, self.power, self.calibration)
        return ops.exp(ops.minimum(a + b * log_scale, math.log(LARGEST_THETA)))

    def log_scale_of(self, theta):
        """Returns s for theta; for the largest theta, the smallest s that yields it."""
        a, b = log_theta_line(self.unit, self.power, self.calibration)
        return (ops.log(theta) - a) / b

    def compute_output_shape(self, shape):
        return shape

    def get_config(self) -> dict[str, Any]:
        calibration = None if self.calibration is None else self.calibration.model_dump()
        own = {"unit": self.unit, "power": self.power, "calibration": calibration}
        return {"name": self.name, **own}

    @classmethod
    def from_config(cls, config):
        calibration = config.get("calibration")
        if calibration is not None:
            config = {**config, "calibration": Calibration.model_validate(calibration)}
        return cls(**config)
