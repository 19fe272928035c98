"""The page of `udl-tf web`: upscaling in a browser, with the uncertainty of each pixel."""

from typing import TYPE_CHECKING

from udl_tf._support.lazy import lazy_names

if TYPE_CHECKING:
    from udl_tf.web.server import listen as listen
    from udl_tf.web.server import prepare as prepare
    from udl_tf.web.studio import Studio as Studio

__all__ = ["Studio", "listen", "prepare"]

__getattr__ = lazy_names(__name__, {"Studio": "studio", "listen": "server", "prepare": "server"})
