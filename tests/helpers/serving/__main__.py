"""Serves exported models on this machine, as a stand-in for TensorFlow Serving.

    python -m helpers.serving DIR [DIR...]

DIR is a folder written by `udl-tf export savedmodel`, which holds the versions of a model; its name
is the name of the model. Answers TensorFlow Serving's requests (gRPC: Predict, GetModelMetadata,
GetModelStatus; REST: predict, metadata, status) until Ctrl-C. For production, use TensorFlow
Serving: deploy/.
"""

import threading
from pathlib import Path
from typing import Any

from udl_tf._support import command_line
from udl_tf._support.stderr import quiet
from udl_tf.errors import UserError, needs_extra


def main(arguments: list[str] | None = None) -> None:
    parser = command_line.make_parser("python -m helpers.serving", __doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="folder of a model")
    parser.add_argument("--host", default="127.0.0.1", help="default: this machine only")
    parser.add_argument(
        "--grpc-port", type=int, default=8500, help="default: 8500; 0: any free port"
    )
    parser.add_argument(
        "--rest-port", type=int, default=8501, help="default: 8501; 0: any free port"
    )
    options = parser.parse_args(arguments)
    for name in ("grpc_port", "rest_port"):
        if not 0 <= getattr(options, name) <= 65535:
            option = name.replace("_", "-")
            raise UserError(f"--{option} {getattr(options, name)}: expected 0..65535")

    with quiet(), needs_extra("serve"):
        from helpers.serving.models import StandIn
        from helpers.serving.rest_server import start_rest

    folders = {folder.resolve().name: folder for folder in options.folders}
    if len(folders) < len(options.folders):
        raise UserError(
            "two folders have the same name, which is the name of the model: rename one"
        )
    models = StandIn(folders)
    try:
        rest = start_rest(models, options.host, options.rest_port)
    except OSError as error:
        place = f"{options.host}:{options.rest_port}"
        raise UserError(
            f"{place}: {error.strerror}: choose another --rest-port or --host"
        ) from None
    try:
        with quiet():
            server, port = _start_grpc(models, options.host, options.grpc_port)
        for name in folders:
            print(f"grpc://{options.host}:{port}/{name}")
            print(f"http://{options.host}:{rest.server_port}/{name}", flush=True)
        try:
            threading.Event().wait()
        finally:
            server.stop(grace=1).wait()
    finally:
        rest.shutdown()
        rest.server_close()


def _start_grpc(models: Any, host: str, port: int) -> tuple[Any, int]:
    from helpers.serving.grpc_server import start_grpc

    try:
        return start_grpc(models, f"{host}:{port}")
    except RuntimeError:
        raise UserError(
            f"{host}:{port}: cannot be used: choose another --grpc-port or --host"
        ) from None


if __name__ == "__main__":
    command_line.run(main)
