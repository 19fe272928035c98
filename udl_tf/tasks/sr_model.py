"""SRModel: a super-resolution network with its uncertainty, as a Keras model to fit and save."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from udl_tf.config import ValueRanges
from udl_tf.hub import presets
from udl_tf.imaging.value_range import GREY_LEVELS, ValueRange
from udl_tf.inference.keras_upscaler import KerasUpscaler, Networks
from udl_tf.inference.result import Upscaled
from udl_tf.inference.upscaler import description
from udl_tf.models import (
    build_model,
    copy_weights,
    freeze_all_but_head,
    fused,
    mean_part,
    precision,
)
from udl_tf.models.heads import LOG_SCALE
from udl_tf.tasks.calibrating import fit_calibration
from udl_tf.tasks.current_upscaler import CurrentUpscaler
from udl_tf.tasks.names import check_trained_part
from udl_tf.tasks.preset_folder import read_preset, write_preset
from udl_tf.tasks.serialization import constructor_arguments, model_config
from udl_tf.tasks.sr_training import SRTraining
from udl_tf.tasks.theta import Theta
from udl_tf.uncertainty.record import Calibration


@keras.saving.register_keras_serializable("udl_tf")
class SRModel(SRTraining):
    """Super-resolution with uncertainty: compile, fit, predict, save and export as in Keras.

    The steps of the uncertainty-driven loss are models of their own:

        model = SRModel("edsr_s", scale=4)          # ESU step
        model.compile("adam", "esu")
        model.fit(dataset)                          # of (lr, hr) in 0..255

        student = model.udl_student(floor=1.0)      # UDL step: `model` weighs the pixels
        student.compile("adam", "udl")
        student.fit(dataset)

        final = student.uncertainty_head()          # head step: the trunk is frozen
        final.compile("adam", "esu")
        final.fit(dataset)
        final.predict(lr)                           # {"sr", "theta"}
        final.calibrate(held_out)                   # of (lr, hr)
        final.upscale("image.png").interval(0.9)    # of any size and file format

    Args:
        backbone: name in udl_tf.models.BACKBONES, or a network lr -> {"sr"} or lr -> {"sr",
            "log_scale"}.
        scale: 2, 3 or 4; required with a name.
        uncertainty_backbone: network lr -> {"log_scale"} that computes theta in place of the
            backbone, as in the paper, where theta comes from the network of the ESU step. It is not
            trained with this model.
        unit: as for Theta.
        power: as for Theta.
        calibration: as for Theta.
        train: "network", or "uncertainty_head" to freeze all but the head.
        student: whether the pixels are weighed in training; see `weigh_by`.
        value_range: values that are 0 and 255 in lr and hr: [low, high], or such a pair per
            channel; `upscale` then takes measurements in their unit. None, or [0, 255]: images.
        about: what is known of the model: "training" (as in a bundle, udl_tf.saved.bundle),
            "licence" and "limits" of use, in words.
        name: of the model.
        options: further constructor arguments of the backbone, such as num_blocks
            or channels.

    Call arguments:
        lr: (n, h, w, channels) in 0..255, of any height, width and number type; RGB, unless the
            backbone has other channels.

    Returns:
        {"sr", "theta"}, float32 (n, scale h, scale w, channels), in grey levels; only "sr" without
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
        student: bool = False,
        value_range: ValueRanges | None = None,
        about: dict[str, Any] | None = None,
        name: str = "sr_model",
        **options,
    ):
        check_trained_part(train)
        network = _find_backbone(backbone, scale, options)
        lr = keras.Input(network.input_shape[1:], name="lr")
        maps: dict = network(lr)  # pyright: ignore[reportAssignmentType]
        outputs = {"sr": maps["sr"]}
        log_scale = maps.get(LOG_SCALE)
        if uncertainty_backbone is not None:
            # In a model of its own, because both networks may have the same name.
            log_scale = uncertainty_backbone(lr)[LOG_SCALE]
            log_scale = keras.Model(lr, log_scale, name="uncertainty")(lr)
        theta = None
        if log_scale is not None:
            if calibration is not None:
                calibration.check_channels(network.input_shape[-1])
            theta = Theta(unit, power, calibration)
            outputs["theta"] = theta(log_scale)
        super().__init__(lr, outputs, name=name)
        self.dtype_policy = network.dtype_policy  # by which `compile` scales the loss
        self.backbone, self.theta = network, theta
        self.uncertainty_backbone = uncertainty_backbone
        self.scale, self.train, self.is_student = scale_of(network), train, student
        if train == "uncertainty_head":
            freeze_all_but_head(network)
        self.value_range = GREY_LEVELS if value_range is None else ValueRange.of(value_range)
        self._about = json.dumps(about or {})  # Keras would wrap a dict
        self._current = CurrentUpscaler()

    def __repr__(self) -> str:
        return description(self)

    @property
    def about(self) -> dict[str, Any]:
        """What is known of the model: "training", "licence" and "limits"."""
        return json.loads(self._about)

    @property
    def channels(self) -> int:
        """Number of channels of the images."""
        return self.backbone.input_shape[-1]

    @property
    def has_uncertainty(self) -> bool:
        """Whether the model predicts theta."""
        return self.theta is not None

    @property
    def networks(self) -> Networks:
        """The networks with plain convolutions; copies, if those of the model have branches."""
        mean, uncertainty = fused(self.backbone), None
        policy = self.backbone.dtype_policy.name
        if self.theta is None:
            return Networks(self.scale, mean, None, policy=policy, value_range=self.value_range)
        second = self.uncertainty_backbone
        uncertainty = mean if second is None else fused(second)
        theta = self.theta
        facts = theta.unit, theta.power, theta.calibration
        return Networks(self.scale, mean, uncertainty, *facts, policy, self.value_range)

    @property
    def upscaler(self) -> KerasUpscaler:
        """Upscaler with the present weights and calibration."""
        return self._current.get(self)

    def upscale(self, image: np.ndarray | Path | str, **options: Any) -> Upscaled:
        """Upscales an image of any size, tile by tile.

        Args:
            image: a file or an array.
            options: further arguments of udl_tf.inference.Upscaler.upscale.
        """
        return self.upscaler.upscale(image, **options)

    def call(self, lr, training=None, mask=None):
        lr = ops.cast(lr, "float32")
        if training:
            return self.backbone(lr, training=True)
        return super().call(lr, training=False)

    def udl_student(self, **weighting: Any) -> "SRModel":
        """Returns the model of the UDL step, which starts from the weights of this one.

        Args:
            weighting: as for `weigh_by`.
        """
        network = self._rebuilt(uncertainty=False)
        student = self._next_step(network, "student", student=True)
        student.weigh_by(self, **weighting)
        return student

    def uncertainty_head(self, kind: str = "light") -> "SRModel":
        """Returns the model of the head step: a new head on the frozen weights of this model.

        Args:
            kind: "light" or "released"; see udl_tf.models.heads.
        """
        network = self._rebuilt(uncertainty=True, log_scale_head=kind)
        return self._next_step(network, "head", train="uncertainty_head")

    def _next_step(self, network: keras.Model, suffix: str, **arguments: Any) -> "SRModel":
        """Returns the model of a further step, of images with the same values."""
        ranges, name = self.value_range.ranges, f"{self.name}_{suffix}"
        return SRModel(network, value_range=ranges, name=name, **arguments)

    def _rebuilt(self, **changes: Any) -> keras.Model:
        """Returns a copy of the backbone with other options and its weights; a head is new."""
        config = {**self.backbone.get_config(), **changes}
        with precision(self.backbone.dtype_policy):
            network = type(self.backbone).from_config(config)
        copy_weights(mean_part(self.backbone), network)
        return network

    def calibrate(self, batches: Any, data: str = "held-out images", **options: Any) -> None:
        """Calibrates theta on held-out images; see udl_tf.tasks.calibrating.fit_calibration.

        Args:
            batches: (lr, hr), or an iterable or keras.utils.PyDataset of these, in 0..255; NaN in
                measurements is nodata.
            data: description of the images, stored with the calibration.
            options: "method" and "conformal" of udl_tf.uncertainty.calibrate.
        """
        self._calibrate(fit_calibration(self.networks, batches, data, **options))

    def export(self, filepath, format="tf_saved_model", **options):
        """Exports the model as keras.Model.export; see docs/export.md for `udl-tf export`."""
        self(
            np.zeros((1, 8, 8, self.channels), np.float32)
        )  # Keras refuses models that were never called
        super().export(filepath, format=format, **options)

    def get_config(self) -> dict[str, Any]:
        return model_config(self)

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**constructor_arguments(config, custom_objects))

    @classmethod
    def from_networks(cls, networks: Networks, about: dict[str, Any] | None = None) -> "SRModel":
        """Returns the model of the networks of a bundle (udl_tf.saved.bundle)."""
        mean, uncertainty = networks.mean, networks.uncertainty
        return cls(
            mean,
            uncertainty_backbone=None if uncertainty is mean else uncertainty,
            unit=networks.unit,
            power=networks.power,
            calibration=networks.calibration,
            value_range=networks.value_range.ranges,
            about=about,
        )

    @classmethod
    def from_preset(cls, preset: Path | str, dtype: str | None = None) -> "SRModel":
        """Reads a preset.

        Args:
            preset: name of a preset of the package, such as "light_x4"; a folder that
                save_to_preset wrote, or that of a finished run; or a handle, such as
                "hf://USER/NAME" or "kaggle://USER/MODEL/keras/VARIATION".
            dtype: Keras dtype policy to compute in; None: as saved.

        Raises:
            UserError: if there is no preset, it is damaged, or it cannot be downloaded.
        """
        return read_preset(presets.find(preset), dtype)

    def save_to_preset(self, folder: Path | str) -> None:
        """Writes the model as a preset, with plain convolutions; see udl_tf.tasks.preset_folder.

        Args:
            folder: a new one, or that of a preset, which is replaced.

        Raises:
            UserError: if the folder exists and is not a preset.
        """
        write_preset(SRModel.from_networks(self.networks, self.about), Path(folder))


def scale_of(network: keras.Model) -> int:
    """Returns HR size divided by LR size of a network."""
    _, *sizes = network.input_shape
    lr = keras.KerasTensor((1, *(size or 8 for size in sizes)))
    outputs: Any = network.compute_output_spec(lr)
    return outputs["sr"].shape[1] // lr.shape[1]


def _find_backbone(
    backbone: str | keras.Model, scale: int | None, options: dict[str, Any]
) -> keras.Model:
    """Returns a network that is given as it is, or by its name, scale and options."""
    if not isinstance(backbone, str):
        if options:
            raise ValueError(f"options are for a backbone given by name. Received: {options}")
        return backbone
    if scale is None:
        raise ValueError(f"scale is required with the name of a backbone, {backbone!r}")
    return build_model(backbone, scale, **options)
