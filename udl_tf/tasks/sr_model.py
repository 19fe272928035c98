"""SRModel: a super-resolution network with its uncertainty, as a Keras model to fit and save."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from udl_tf.config import WeightingConfig
from udl_tf.losses import LOSSES, SRLoss
from udl_tf.models import build_model, copy_weights, freeze_all_but_head, precision
from udl_tf.models.heads import LOG_SCALE
from udl_tf.tasks.image_metrics import PSNRY, SSIMY
from udl_tf.tasks.pixel_weights import make_pixel_weight
from udl_tf.tasks.theta import Theta
from udl_tf.uncertainty.record import Calibration


class _FunctionLoss(keras.losses.Loss):
    """Loss of a function (y_true, y_pred) -> losses, such as Keras finds for "mae"."""

    def __init__(self, function: Callable):
        super().__init__("function", dtype="float32")
        self.call = function


_METRICS = {"psnr_y": PSNRY, "ssim_y": SSIMY}


@keras.saving.register_keras_serializable("udl_tf")
class SRModel(keras.Model):
    """Super-resolution with uncertainty: compile, fit, predict, save and export as in Keras.

    The steps of the uncertainty-driven loss are models of their own:

        model = SRModel("edsr_s", scale=4)          # ESU step
        model.compile("adam", "esu")
        model.fit(dataset)                          # of (lr, hr), RGB in 0..255

        student = model.udl_student(floor=1.0)      # UDL step: `model` weighs the pixels
        student.compile("adam", "udl")
        student.fit(dataset)

        final = student.uncertainty_head()          # head step: the trunk is frozen
        final.compile("adam", "esu")
        final.fit(dataset)
        final.predict(lr)                           # {"sr", "theta"}

    Args:
        backbone: name in udl_tf.models.BACKBONES, or a network lr -> {"sr"} or lr -> {"sr",
            "log_scale"}.
        scale: 2, 3 or 4; required with a name.
        uncertainty_backbone: network lr -> {"log_scale"} that computes theta in place of the
            backbone, as in the paper, where theta comes from the network of the ESU step.
        unit, power, calibration: as for Theta.
        train: "network", or "uncertainty_head" to freeze all but the head.
        name: of the model.
        options: further constructor arguments of the backbone, such as num_blocks.

    Call arguments:
        lr: (n, h, w, 3), RGB in 0..255, of any height, width and number type.

    Returns:
        {"sr", "theta"}, float32 (n, scale h, scale w, 3), in grey levels; only "sr" without
        uncertainty. With training=True, the outputs of the backbone, which losses need: {"sr",
        "log_scale"}.

    Source: Ning et al., NeurIPS 2021.
    """

    def __init__(
        self,
        backbone: str | keras.Model = "edsr_s",
        scale: int | None = None,
        *,
        uncertainty_backbone: keras.Model | None = None,
        unit: float = 1.0,
        power: float = 1.0,
        calibration: Calibration | None = None,
        train: str = "network",
        name: str = "sr_model",
        **options,
    ):
        if isinstance(backbone, str):
            if scale is None:
                raise ValueError(f"scale is required with the name of a backbone, {backbone!r}")
            backbone = build_model(backbone, scale, **options)
        elif options:
            raise ValueError(f"options are for a backbone given by name. Received: {options}")
        lr = keras.Input((None, None, 3), name="lr")
        maps = backbone(lr)
        outputs = {"sr": maps["sr"]}
        log_scale = maps.get(LOG_SCALE)
        if uncertainty_backbone is not None:
            log_scale = uncertainty_backbone(lr)[LOG_SCALE]
        theta = None
        if log_scale is not None:
            theta = Theta(unit, power, calibration)
            outputs["theta"] = theta(log_scale)
        super().__init__(lr, outputs, name=name)
        self.backbone, self.theta = backbone, theta
        self.uncertainty_backbone = uncertainty_backbone
        if uncertainty_backbone is not None:
            uncertainty_backbone.trainable = False
        self.scale, self._train = backbone.scale, train
        if train == "uncertainty_head":
            freeze_all_but_head(backbone)
        self.sr_loss: keras.losses.Loss | None = None
        # A function hides the frozen network, which Keras would otherwise train and save.
        self.pixel_weight: Callable | None = None

    def call(self, lr, training=None, mask=None):
        lr = ops.cast(lr, "float32")
        if training:
            return self.backbone(lr, training=True)
        return super().call(lr, training=False)

    def udl_student(
        self,
        floor: float = 1.0,
        source: str = "uncertainty",
        normalize: bool = False,
        quantile: float = 0.0,
    ) -> "SRModel":
        """Returns the model of the UDL step, which starts from the weights of this one.

        This model weighs the pixels and stays as it is, as long as the student trains.

        Args:
            floor, source, normalize, quantile: of the weights; see WeightingConfig.

        Raises:
            ValueError: if the weights need the log scale, but this model has none.
        """
        weighting = WeightingConfig.model_validate(
            {"source": source, "floor": floor, "normalize": normalize, "quantile": quantile}
        )
        student = SRModel(self._rebuilt(uncertainty=False), name=f"{self.name}_student")
        student.pixel_weight = make_pixel_weight(weighting, self.backbone, self.scale)
        return student

    def uncertainty_head(self, kind: str = "light") -> "SRModel":
        """Returns the model of the head step: a new head on the frozen weights of this model.

        Args:
            kind: "light" or "released"; see udl_tf.models.heads.
        """
        network = self._rebuilt(uncertainty=True, log_scale_head=kind)
        return SRModel(network, train="uncertainty_head", name=f"{self.name}_head")

    def _rebuilt(self, **changes: Any) -> keras.Model:
        """Returns a copy of the backbone with other options, and the same weights where it can."""
        config = {**self.backbone.get_config(), **changes}
        with precision(self.backbone.dtype_policy):
            network = type(self.backbone).from_config(config)
        copy_weights(self.backbone, network)
        return network

    def compile(self, optimizer="rmsprop", loss=None, *, metrics=None, **options):
        """Sets optimizer, loss and metrics as keras.Model.compile.

        Args:
            optimizer: as in Keras.
            loss: name in udl_tf.losses.LOSSES, one of those losses, or any loss of Keras, which is
                applied to sr. None: "udl" for a UDL student, else "esu" with uncertainty, else
                "l1".
            metrics: any of Keras, applied to sr; "psnr_y" and "ssim_y" shave `scale` pixels.
            options: further arguments of keras.Model.compile.
        """
        loss = loss or self._default_loss()
        known = isinstance(loss, str) and loss in LOSSES
        found = LOSSES[loss]() if known else keras.losses.get(loss)
        self.sr_loss = found if isinstance(found, keras.losses.Loss) else _FunctionLoss(found)
        if getattr(self.sr_loss, "needs_log_scale", False) and LOG_SCALE not in self._maps:
            raise ValueError(
                f"the loss {loss!r} needs a log scale, but {self.name} was built without"
                " uncertainty"
            )
        if self.theta is not None and self.theta.calibration is None:
            self.theta.unit = getattr(self.sr_loss, "unit", self.theta.unit)
            self.theta.power = getattr(self.sr_loss, "power", self.theta.power)
        super().compile(optimizer, metrics=self._resolved(metrics), **options)
        self._compile_config.config |= {"loss": loss, "metrics": metrics}

    def _default_loss(self) -> str:
        if self.pixel_weight is not None:
            return "udl"
        return "esu" if LOG_SCALE in self._maps else "l1"

    @property
    def _maps(self) -> dict[str, Any]:
        return self.backbone.output

    def _resolved(self, metrics):
        if not isinstance(metrics, list | tuple):
            return metrics
        return [
            _METRICS[metric](shave=self.scale) if metric in _METRICS else metric
            for metric in metrics
        ]

    def train_step(self, *args):
        *state, batch = args  # TensorFlow passes the batch, JAX the state and the batch
        return super().train_step(*state, self._weighted(batch))

    def _weighted(self, batch):
        """Returns (lr, hr, weights of the pixels or None) of a batch (lr, hr[, weights])."""
        lr, hr, given = keras.utils.unpack_x_y_sample_weight(batch)
        lr, hr = ops.cast(lr, "float32"), ops.cast(hr, "float32")
        if self.pixel_weight is None:
            return lr, hr, given
        w = self.pixel_weight(lr, hr)
        return lr, hr, w if given is None else w * given

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if self.sr_loss is None:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        y = ops.cast(y, "float32")
        if not isinstance(self.sr_loss, SRLoss):
            return self.sr_loss(y, y_pred["sr"], sample_weight)
        if "theta" in y_pred:
            y_pred = {"sr": y_pred["sr"], LOG_SCALE: self.theta.log_scale_of(y_pred["theta"])}
        if sample_weight is None and self.pixel_weight is not None:
            sample_weight = self.pixel_weight(ops.cast(x, "float32"), y)
        return self.sr_loss(y, y_pred, sample_weight)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return super().compute_metrics(x, y, y_pred["sr"], None)

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        second = self.uncertainty_backbone
        return {
            "name": self.name,
            "backbone": serialize(self.backbone),
            "uncertainty_backbone": None if second is None else serialize(second),
            "theta": None if self.theta is None else self.theta.get_config(),
            "train": self._train,
            "policy": self.backbone.dtype_policy.name,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        deserialize = keras.saving.deserialize_keras_object
        theta = config["theta"]
        layer = Theta() if theta is None else Theta.from_config(theta)
        second = config["uncertainty_backbone"]
        with precision(config["policy"]):
            return cls(
                deserialize(config["backbone"], custom_objects),
                uncertainty_backbone=second and deserialize(second, custom_objects),
                unit=layer.unit,
                power=layer.power,
                calibration=layer.calibration,
                train=config["train"],
                name=config["name"],
            )

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)
