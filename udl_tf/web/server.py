"""Server of the page: listens on one address and contacts no other host."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from udl_tf.errors import UserError

if TYPE_CHECKING:
    import uvicorn

    from udl_tf.web.studio import Studio

PORT = 7860
_PORTS = 100  # that are tried if none is given
_LARGEST_UPLOAD = 10**9  # bytes: 40 megapixels of uncompressed floats and more

# For gradio, and for the library of a model hub that it imports.
_OFFLINE = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
}


def listen(host: str, port: int | None) -> socket.socket:
    """Returns a socket that listens on a port.

    Args:
        host: address to listen on.
        port: the port; None: the first free one from PORT on.

    Raises:
        UserError: if the port is in use, or the address is not one of this machine.
    """
    if port is not None and not 1 <= port <= 65535:
        raise UserError(f"port {port}: expected 1 to 65535")
    reason = ""
    for candidate in range(PORT, PORT + _PORTS) if port is None else (port,):
        try:
            return socket.create_server((host, candidate))
        except OSError as error:
            reason = str(error.strerror or error).partition(" (while")[0]
    tried = f"ports {PORT} to {PORT + _PORTS - 1}" if port is None else f"port {port}"
    raise UserError(f"{host}, {tried}: cannot be used ({reason}): choose another", argument="port")


@contextmanager
def prepare(studio: "Studio") -> "Iterator[uvicorn.Server]":
    """Yields the server of the page, to be run; stops all tasks and removes all files afterwards.

    Args:
        studio: what visitors share.
    """
    changed = {**_OFFLINE, "GRADIO_TEMP_DIR": str(studio.folders.uploads)}
    earlier = {name: os.environ[name] for name in changed if name in os.environ}
    os.environ.update(changed)
    try:
        yield _server(studio)
    finally:
        studio.close()
        for name in changed:
            del os.environ[name]
        os.environ.update(earlier)


def _server(studio: "Studio") -> "uvicorn.Server":
    import fastapi
    import gradio as gr
    import uvicorn

    from udl_tf.web.page import Page
    from udl_tf.web.style import CSS, THEME

    gr.set_static_paths([studio.folders.results])  # served from where they are, not copied
    app = gr.mount_gradio_app(
        fastapi.FastAPI(openapi_url=None),
        Page(studio).blocks,
        path="",
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        max_file_size=_LARGEST_UPLOAD,
        ssr_mode=False,
        pwa=False,
        theme=THEME,
        css=CSS,
    )
    config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1)
    return uvicorn.Server(config)
