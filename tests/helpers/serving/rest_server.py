"""The REST service of the stand-in, with the paths and the JSON of TensorFlow Serving.

GET /v1/models/NAME[/versions/V], GET .../metadata, POST ...:predict with "instances" (rows) or
"inputs" (columns). Bytes are {"b64": "..."}, in inputs and in outputs whose names end in _bytes.
"""

import base64
import contextlib
import json
import re
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import meta_graph_pb2

from helpers.serving.models import Refused, StandIn

_PATH = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d+))?(/metadata|:predict)?")
_STATUS = {
    "NOT_FOUND": HTTPStatus.NOT_FOUND,
    "INVALID_ARGUMENT": HTTPStatus.BAD_REQUEST,
    "RESOURCE_EXHAUSTED": HTTPStatus.TOO_MANY_REQUESTS,
}


def start_rest(models: StandIn, host: str, port: int) -> ThreadingHTTPServer:
    """Starts the service in background threads; port 0 is any free port, then in `server_port`."""

    class Handler(_Handler):
        pass

    Handler.models = models
    server = ThreadingHTTPServer((host, port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    models: StandIn
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._answer(self._get)

    def do_POST(self):
        self._answer(self._predict)

    def log_message(self, format, *args):  # no log line per request
        pass

    def _answer(self, respond):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            path = _PATH.fullmatch(self.path.split("?")[0])
            if path is None:
                raise Refused("NOT_FOUND", f"Malformed request: {self.command} {self.path}")
            status, content = HTTPStatus.OK, respond(path, body)
        except Refused as refused:
            status = _STATUS.get(refused.code, HTTPStatus.INTERNAL_SERVER_ERROR)
            content = {"error": str(refused)}
        data = json.dumps(content).encode()
        with contextlib.suppress(ConnectionError):  # the client may have given up
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    def _get(self, path, body: bytes) -> Any:
        name, version, suffix = path[1], path[2] and int(path[2]), path[3]
        version, model = self.models.find(name, version)
        if suffix == ":predict":
            raise Refused("INVALID_ARGUMENT", "predict is a POST request")
        if suffix is None:
            status = {"error_code": "OK", "error_message": ""}
            state = {"version": str(version), "state": "AVAILABLE", "status": status}
            return {"model_version_status": [state]}
        signatures = {
            key: json_format.MessageToDict(value, preserving_proto_field_name=True)
            for key, value in model.signatures.items()
        }
        spec = {"name": name, "signature_name": "", "version": str(version)}
        metadata = {"signature_def": {"signature_def": signatures}}
        return {"model_spec": spec, "metadata": metadata}

    def _predict(self, path, body: bytes) -> Any:
        if path[3] != ":predict":
            raise Refused("INVALID_ARGUMENT", "only :predict is a POST request")
        name, version = path[1], path[2] and int(path[2])
        _, model = self.models.find(name, version)
        request = _parsed(body)
        signature_name = request.get("signature_name") or "serving_default"
        signature = self.models.signature(model, signature_name)
        rows = "instances" in request
        inputs = _inputs(request, signature)
        outputs = self.models.predict(name, version, signature_name, inputs)
        values = {key: _to_json(key, value) for key, value in outputs.items()}
        # A single output is returned without its name.
        if not rows:
            return {"outputs": values if len(values) > 1 else next(iter(values.values()))}
        by_row = list(zip(*values.values(), strict=True))
        if len(values) == 1:
            return {"predictions": [row[0] for row in by_row]}
        return {"predictions": [dict(zip(values, row, strict=True)) for row in by_row]}


def _parsed(body: bytes) -> Mapping[str, Any]:
    try:
        request = json.loads(body)
    except ValueError as error:
        raise Refused("INVALID_ARGUMENT", f"JSON Parse error: {error}") from None
    if not isinstance(request, dict) or ("instances" in request) == ("inputs" in request):
        raise Refused("INVALID_ARGUMENT", "expected an object with either instances or inputs")
    return request


def _inputs(
    request: Mapping[str, Any], signature: meta_graph_pb2.SignatureDef
) -> dict[str, tf.Tensor]:
    """Returns the tensors in the rows or columns of a request."""
    names = list(signature.inputs)
    if "instances" in request:
        rows = request["instances"]
        if not isinstance(rows, list) or not rows:
            raise Refused("INVALID_ARGUMENT", "instances: expected a list that is not empty")
        if all(_has_names(row) for row in rows):
            if any(set(row) != set(names) for row in rows):
                raise Refused("INVALID_ARGUMENT", f"instances: expected the keys {names}")
            columns = {name: [row[name] for row in rows] for name in names}
        else:
            columns = {names[0]: rows}
    else:
        values = request["inputs"]
        columns = values if _has_names(values) else {names[0]: values}
    if set(columns) != set(names):
        raise Refused("INVALID_ARGUMENT", f"input keys {sorted(columns)}; expected {names}")
    return {
        name: _tensor(name, column, tf.as_dtype(signature.inputs[name].dtype))
        for name, column in columns.items()
    }


def _has_names(value: Any) -> bool:
    return isinstance(value, dict) and set(value) != {"b64"}


def _tensor(name: str, column: Any, dtype: tf.DType) -> tf.Tensor:
    try:
        if dtype == tf.string:
            return tf.constant(_bytes(column), tf.string)
        numbers = np.array(column)
        if numbers.dtype.kind not in "if" or (numbers.dtype.kind == "f" and dtype.is_integer):
            raise ValueError(f"values of kind {numbers.dtype}")
        if (
            dtype.is_integer
            and numbers.size
            and not 0 <= numbers.min() <= numbers.max() <= dtype.max
        ):
            raise ValueError(f"values {numbers.min()}..{numbers.max()}")
        return tf.constant(numbers, dtype)
    except (ValueError, TypeError) as error:
        text = f"input {name}: expected {dtype.name}, rows of one shape ({error})"
        raise Refused("INVALID_ARGUMENT", text) from None


def _bytes(value: Any) -> Any:
    if isinstance(value, list):
        return [_bytes(item) for item in value]
    if isinstance(value, dict) and set(value) == {"b64"}:
        return base64.b64decode(value["b64"], validate=True)
    if isinstance(value, str):
        return value.encode()
    raise ValueError('expected {"b64": "..."} or text')


def _to_json(name: str, value: np.ndarray) -> Any:
    """Returns an output as lists of numbers or encoded bytes."""
    if value.dtype == np.float16:
        raise Refused("INVALID_ARGUMENT", f"output {name} is float16, which REST cannot carry")
    if value.dtype != object:
        return value.tolist()
    if name.endswith("_bytes"):
        return [{"b64": base64.b64encode(item).decode()} for item in value]
    return [item.decode() for item in value]
