"""Training of a super-resolution model: losses by name, and pixels weighed in UDL steps."""

from collections.abc import Callable
from logging import getLogger
from typing import Any

import keras
from keras import ops

from udl_tf._support.json_files import parse_model
from udl_tf.config import WeightingConfig
from udl_tf.errors import UserError
from udl_tf.losses import SRLoss
from udl_tf.models import fused
from udl_tf.models.heads import LOG_SCALE, check_head
from udl_tf.tasks.names import find_loss, find_metrics
from udl_tf.tasks.pixel_weights import make_pixel_weight
from udl_tf.tasks.theta import Theta
from udl_tf.uncertainty.record import Calibration

log = getLogger(__name__)


class SRTraining(keras.Model):
    """Behaviour of SRModel in compile, fit and evaluate.

    Attributes:
        backbone: network that is trained.
        theta: last layer, or None without uncertainty.
        scale: HR size divided by LR size.
        is_student: whether the pixels are weighed.
    """

    backbone: keras.Model
    theta: Theta | None
    scale: int
    is_student: bool
    sr_loss: keras.losses.Loss | None = None
    # A function hides the frozen network, which Keras would otherwise train and save.
    pixel_weight: Callable | None = None

    @property
    def trainable_variables(self):
        # Not those of a second network for theta, which is in the graph but not in the loss.
        return self.backbone.trainable_variables if self.trainable else []

    @property
    def trainable_weights(self):
        return self.backbone.trainable_weights if self.trainable else []

    @property
    def non_trainable_variables(self):
        return _without(self.variables, self.trainable_variables)

    @property
    def non_trainable_weights(self):
        return _without(self.weights, self.trainable_weights)

    def compile(self, optimizer="rmsprop", loss=None, *, metrics=None, **options):
        """Sets optimizer, loss and metrics as keras.Model.compile.

        The first update that follows ends the calibration of theta, which belongs to the previous
        weights. If the loss trains s, theta then takes its unit and power.

        Args:
            optimizer: as in Keras.
            loss: name in udl_tf.losses.LOSSES, one of those losses, or any loss of Keras, which is
                applied to sr. None: "udl" for a UDL student, else "esu" with uncertainty, else
                "l1".
            metrics: any of Keras, applied to sr; "psnr_y" and "ssim_y", for RGB, and "psnr" and
                "ssim", for any channels, shave `scale` pixels.
            options: further arguments of keras.Model.compile.
        """
        loss = loss or self._default_loss()
        self.sr_loss = find_loss(loss)
        if getattr(self.sr_loss, "needs_log_scale", False) and not self._trains_log_scale:
            raise UserError(
                f"the loss {loss!r} needs a log scale, but {self.name} was built without"
                " uncertainty"
            )
        super().compile(optimizer, metrics=find_metrics(metrics, self.scale), **options)
        # Variables that the first update creates would cost a second trace, and Keras cannot load
        # a model that was saved before it.
        self.optimizer.build(self.trainable_variables)
        self._compile_config.config |= {"loss": loss, "metrics": metrics}

    def _read_log_scale_as_trained(self) -> None:
        """Sets unit and power of theta to those of the loss, if it trains s."""
        if self.theta is None or not getattr(self.sr_loss, "needs_log_scale", False):
            return
        unit, power = getattr(self.sr_loss, "unit", 1.0), getattr(self.sr_loss, "power", 1.0)
        if (self.theta.unit, self.theta.power) != (unit, power):
            self.theta.unit, self.theta.power = unit, power
            self._forget_functions()

    @property
    def calibration(self) -> Calibration | None:
        """Correction of theta; None: theta is as trained."""
        return None if self.theta is None else self.theta.calibration

    def _calibrate(self, calibration: Calibration | None) -> None:
        """Replaces the calibration."""
        assert self.theta is not None
        self.theta.calibration = calibration
        self._forget_functions()

    def _forget_functions(self) -> None:
        """Discards compiled functions that contain unit and calibration of theta."""
        self.predict_function = self.test_function = None

    def _default_loss(self):
        if self.is_student:
            return "udl"
        return "esu" if self._trains_log_scale else "l1"

    @property
    def _trains_log_scale(self) -> bool:
        return LOG_SCALE in self.backbone.output

    def make_train_function(self, force=False):
        self._check_weights()
        if self.trainable_variables:
            check_head(self.sr_loss, getattr(self.backbone, "settings", {}))
            if self.calibration is not None:
                log.warning(
                    "%s: training ends the calibration of theta: calibrate again", self.name
                )
                self._calibrate(None)
            self._read_log_scale_as_trained()
        super().make_train_function(force)

    def make_test_function(self, force=False):
        self._check_weights()
        return super().make_test_function(force)

    def _check_weights(self) -> None:
        if self.is_student and self.pixel_weight is None:
            raise ValueError(
                f"{self.name} is a loaded student without the model that weighs the pixels: call"
                " weigh_by(model) first"
            )

    def train_step(self, *args):
        *state, batch = args  # TensorFlow passes the batch, JAX the state and the batch
        return super().train_step(*state, self._weighted(batch))

    def _weighted(self, batch):
        """Returns (lr, hr, weights of the pixels or None) of a batch (lr, hr[, weights])."""
        lr, hr, given = keras.utils.unpack_x_y_sample_weight(batch)
        lr, hr = ops.cast(lr, "float32"), ops.cast(hr, "float32")
        if given is not None and len(given.shape) == 1:  # one per image
            given = ops.reshape(given, (-1, 1, 1, 1))
        elif given is not None and len(given.shape) == 3:  # one per pixel
            given = ops.expand_dims(given, -1)
        if self.pixel_weight is None:
            return lr, hr, given
        w = self.pixel_weight(lr, hr)
        return lr, hr, w if given is None else w * given

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if self.sr_loss is None:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        loss = self._loss_of_maps(self.sr_loss, x, y, y_pred, sample_weight, training)
        # Those of the network's layers, such as regularizers.
        return sum((self._aggregate_additional_loss(other) for other in self.losses), loss)

    def _loss_of_maps(self, loss, x, y, y_pred, sample_weight, training):
        """Returns a loss of a network's outputs, or of the model's if not `training`."""
        y = ops.cast(y, "float32")
        if not training:  # train_step has weighted its batch
            *_, sample_weight = self._weighted((x, y, sample_weight))
        if not isinstance(loss, SRLoss):
            sr = y_pred["sr"]
            if sample_weight is not None and len(sample_weight.shape) == len(y.shape):
                # Losses of Keras are means over the last axis, which may have weights of its own.
                y, sr = ops.expand_dims(y, -1), ops.expand_dims(sr, -1)
            return loss(y, sr, sample_weight)
        if self.theta is not None and "theta" in y_pred:
            y_pred = {"sr": y_pred["sr"], LOG_SCALE: self.theta.log_scale_of(y_pred["theta"])}
        return loss(y, y_pred, sample_weight)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return super().compute_metrics(x, y, y_pred["sr"], None)

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))

    def weigh_by(self, model: "SRTraining", **weighting: Any) -> None:
        """Sets the model that weighs the pixels in a UDL step, which is not saved with this one.

        Args:
            model: that of the ESU step; it stays as it is.
            weighting: fields of udl_tf.config.WeightingConfig, such as floor=1.0.

        Raises:
            UserError: for an unknown field or value, or if the weights need a log scale and the
                model has none.
        """
        config = parse_model(weighting, WeightingConfig, "weighting")
        if config.source == "uncertainty" and LOG_SCALE not in model.backbone.output:
            raise UserError(
                f"source {config.source!r} needs a log scale, but {model.name} has none: train it"
                " with the loss 'esu', or choose another source"
            )
        self.pixel_weight = make_pixel_weight(config, fused(model.backbone), self.scale)
        self.train_function = self.test_function = None  # with other pixel weights


def _without(variables: list, others: list) -> list:
    """Returns the variables that are not among others; Keras compares their values with ==."""
    left_out = {id(variable) for variable in others}
    return [variable for variable in variables if id(variable) not in left_out]
