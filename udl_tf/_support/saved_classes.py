"""Classes that Keras finds by name in saved models, although nothing has imported them yet.

    import keras, udl_tf
    model = keras.saving.load_model("model.keras")

`import udl_tf` imports neither Keras nor the modules of the classes. Once Keras is imported, it
gets a stand-in for each class, which imports the class when a saved model contains it.
"""

from importlib import import_module
from typing import Any

import wrapt

CLASSES = {
    "losses": ("L1Loss", "MSELoss", "EULoss", "ESULoss", "BetaNLLLoss", "UDLLoss", "GRAMLoss"),
    "models.blocks": (
        *("DepthToSpace", "SpaceToDepth", "NearestUpConv2D", "Conv2DTranspose", "CropLike"),
        *("BicubicDown", "BicubicUp"),
    ),
    "models.branches": ("BranchedConv2D",),
    "models.dpdnn": ("DPDNN", "_DescentStep"),
    "models.edsr": ("EDSR",),
    "models.span": ("SPAN",),
    "tasks.image_metrics": ("PSNR", "SSIM", "PSNRY", "SSIMY"),
    "tasks.sr_model": ("SRModel",),
    "tasks.theta": ("Theta",),
    "training.optimizers": ("Muon", "Warmup"),
}
"""Registered classes by module; a test compares them with the sources."""


def register_when_keras_is_imported() -> None:
    """Registers stand-ins now if Keras is imported, else as soon as it is."""
    wrapt.register_post_import_hook(_register, "keras")


def _register(keras: Any) -> None:
    registered = keras.saving.get_custom_objects()
    for module, names in CLASSES.items():
        for name in names:
            registered.setdefault(f"udl_tf>{name}", _stand_in(module, name))


def _stand_in(module: str, name: str) -> type:
    def from_config(config: dict[str, Any]) -> Any:
        return getattr(import_module(f"udl_tf.{module}"), name).from_config(config)

    return type(name, (), {"from_config": staticmethod(from_config)})
