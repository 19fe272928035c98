"""Trained models on disk or on a server, and `load`, which opens all of them."""

from typing import TYPE_CHECKING

from udl_tf._support.lazy import lazy_names

if TYPE_CHECKING:
    from udl_tf.saved.client import Client as Client
    from udl_tf.saved.loading import load as load
    from udl_tf.saved.torch_checkpoint import import_torch as import_torch

__all__ = ["Client", "import_torch", "load"]

__getattr__ = lazy_names(
    __name__, {"Client": "client", "import_torch": "torch_checkpoint", "load": "loading"}
)
