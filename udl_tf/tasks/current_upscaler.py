"""The upscaler of a model whose weights may change."""

import threading
import zlib
from typing import TYPE_CHECKING

import keras

from udl_tf.inference.keras_upscaler import KerasUpscaler

if TYPE_CHECKING:
    from udl_tf.tasks.sr_model import SRModel


class CurrentUpscaler:
    """Builds the upscaler of a model; builds it again if weights, unit or calibration change.

    An upscaler holds convolutions that it computed from the weights (udl_tf.models.stages).
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._state: tuple | None = None
        self._upscaler: KerasUpscaler | None = None

    def get(self, model: "SRModel") -> KerasUpscaler:
        """Returns the upscaler for the present weights, unit and calibration of the model."""
        calibration, theta = model.calibration, model.theta
        weights = (keras.ops.convert_to_numpy(weight) for weight in model.weights)
        checksums = tuple(zlib.crc32(values) for values in weights)
        unit = theta and (theta.unit, theta.power)
        state = (*checksums, unit, calibration and calibration.model_dump_json())
        with self._lock:
            if self._upscaler is None or state != self._state:
                self._state, self._upscaler = state, KerasUpscaler(model.networks)
            return self._upscaler
