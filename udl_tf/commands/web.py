"""Serves a page that upscales images in a browser and shows how reliable each pixel is.

    udl-tf web

prints the address of the page, to be opened in a browser on this computer. The images stay on this
computer, and no other host is contacted. Ctrl-C stops the server. Needs pip install "udl_tf[web]".
"""

import importlib.util
import signal
import webbrowser

from udl_tf._support import command_line
from udl_tf._support.backend import check_backend
from udl_tf._support.stderr import quiet
from udl_tf.errors import UserError


def main(arguments: list[str] | None = None) -> None:
    parser = command_line.make_parser("udl-tf web", __doc__)
    parser.add_argument(
        "--model",
        help="selected for every upload, instead of a preset by its compression:"
        f" {command_line.MODEL_HELP}",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; 0.0.0.0 lets everybody on the network use the page, without a"
        " password (default: %(default)s, this computer only)",
    )
    parser.add_argument("--port", type=int, help="default: the first free one from 7860 on")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    options = parser.parse_args(arguments)
    check_backend("tensorflow", "jax")
    if importlib.util.find_spec("gradio") is None:
        raise UserError('gradio is not installed: run pip install "udl_tf[web]"')
    from udl_tf.web import listen, prepare

    with listen(options.host, options.port) as door:
        with quiet():
            from udl_tf._support.hardware import use_cores
            from udl_tf.web import Studio

            use_cores()
            studio = Studio(options.model)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with prepare(studio) as server:
            address = f"http://{options.host}:{door.getsockname()[1]}"
            print(f"Open {address} in a browser. Stop with Ctrl-C.", flush=True)
            if options.open:
                webbrowser.open(address)
            server.run(sockets=[door])
