"""Single-image super-resolution with calibrated uncertainty.

Importing the package starts no TensorFlow work: the names below are loaded when first used.

Examples:
    >>> import udl_tf
    >>> model = udl_tf.load("light_x4")
    >>> result = model.upscale("photo.jpg")
    >>> result.image, result.theta
"""

from typing import TYPE_CHECKING

from udl_tf._support.lazy import lazy_names
from udl_tf._support.saved_classes import register_when_keras_is_imported

if TYPE_CHECKING:
    from udl_tf import imaging as imaging
    from udl_tf import losses as losses
    from udl_tf import metrics as metrics
    from udl_tf import models as models
    from udl_tf import weighting as weighting
    from udl_tf.errors import UserError as UserError
    from udl_tf.hub.handles import upload_preset as upload_preset
    from udl_tf.inference.result import Upscaled as Upscaled
    from udl_tf.models import build_model as build_model
    from udl_tf.saved.loading import load as load
    from udl_tf.tasks import SRModel as SRModel

__version__ = "0.2.0"

__all__ = [
    "SRModel",
    "Upscaled",
    "UserError",
    "__version__",
    "build_model",
    "imaging",
    "load",
    "losses",
    "metrics",
    "models",
    "upload_preset",
    "weighting",
]

__getattr__ = lazy_names(
    __name__,
    {
        "SRModel": "tasks",
        "Upscaled": "inference.result",
        "UserError": "errors",
        "build_model": "models",
        "load": "saved.loading",
        "upload_preset": "hub.handles",
        **dict.fromkeys(("imaging", "losses", "metrics", "models", "weighting"), ""),
    },
)

register_when_keras_is_imported()


def __dir__() -> list[str]:
    return __all__
