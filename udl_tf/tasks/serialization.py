"""SRModel as a config of plain values, and back."""

from typing import TYPE_CHECKING, Any

import keras

from udl_tf.models import precision
from udl_tf.tasks.theta import Theta

if TYPE_CHECKING:
    from udl_tf.tasks.sr_model import SRModel


def model_config(model: "SRModel") -> dict[str, Any]:
    """Returns the config of a model."""
    serialize = keras.saving.serialize_keras_object
    second = model.uncertainty_backbone
    return {
        "name": model.name,
        "backbone": serialize(model.backbone),
        "uncertainty_backbone": None if second is None else serialize(second),
        "theta": None if model.theta is None else model.theta.get_config(),
        "train": model.train,
        "student": model.is_student,
        "value_range": model.value_range.ranges,
        "policy": model.backbone.dtype_policy.name,
        "about": model.about,
    }


def constructor_arguments(config: dict[str, Any], custom_objects: Any) -> dict[str, Any]:
    """Returns the arguments of SRModel for a config."""
    deserialize = keras.saving.deserialize_keras_object
    theta, second = config["theta"], config["uncertainty_backbone"]
    layer = Theta() if theta is None else Theta.from_config(theta)
    with precision(config["policy"]):
        return {
            "backbone": deserialize(config["backbone"], custom_objects),
            "uncertainty_backbone": second and deserialize(second, custom_objects),
            "unit": layer.unit,
            "power": layer.power,
            "calibration": layer.calibration,
            "train": config["train"],
            "student": config["student"],
            "value_range": config.get("value_range"),
            "about": config["about"],
            "name": config["name"],
        }
