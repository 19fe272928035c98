"""Where presets come from: the package, Hugging Face and Kaggle."""

from typing import TYPE_CHECKING

from udl_tf._support.lazy import lazy_names

if TYPE_CHECKING:
    from udl_tf.hub.handles import upload_preset as upload_preset

__all__ = ["upload_preset"]

__getattr__ = lazy_names(__name__, {"upload_preset": "handles"})
