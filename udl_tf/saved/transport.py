"""Requests to TensorFlow Serving by gRPC or REST: timeouts, retries, errors in one line."""

import base64
import random
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import imagecodecs
import numpy as np
import numpy.typing as npt
import requests
from requests.adapters import HTTPAdapter

from udl_tf.errors import Unavailable, UserError, first_line, needs_extra
from udl_tf.imaging.dtypes import to_dtype
from udl_tf.saved.card import THETA_STEPS

_CONNECTIONS = 64  # idle connections in the pool
_UNREACHABLE = "unreachable"
_FIRST_PAUSE = 0.2  # seconds before the first retry; doubled for each further one


class Busy(Exception):
    """The server is unreachable or overloaded, as the message says; a retry may succeed."""


@contextmanager
def expected_answers(address: str) -> Iterator[None]:
    """Reports answers that are not those of a model of udl_tf as one line.

    Raises:
        UserError: if the block fails on the form of an answer.
    """
    try:
        yield
    except UserError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
        raise UserError(
            f"{address}: unexpected answer ({first_line(error)}): expected TensorFlow Serving with"
            " a model exported by udl_tf: check the address"
        ) from None


@dataclass(frozen=True)
class Address:
    """Address of a served model: SCHEME://HOST:PORT/NAME or SCHEME://HOST:PORT/NAME/VERSION.

    Attributes:
        scheme: "grpc", "http" or "https".
        host: HOST:PORT.
        model: name of the model.
        version: number of the version; None: the latest.
    """

    scheme: str
    host: str
    model: str
    version: int | None

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Parses an address; accepts TensorFlow Serving's http://HOST/v1/models/NAME, too.

        Raises:
            UserError: if the text is not an address.
        """
        expected = UserError(
            f"{url}: expected grpc://HOST:8500/NAME or http://HOST:8501/NAME, optionally followed"
            " by /VERSION"
        )
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:  # of an IPv6 address or a port
            raise expected from None
        names = [name for name in parts.path.split("/") if name]
        names = names[2:] if names[:2] == ["v1", "models"] else names
        names = [name for name in names if name != "versions"]
        version = names[1] if len(names) == 2 else None
        if (
            parts.scheme not in ("grpc", "http", "https")
            or not parts.hostname
            or (parts.scheme == "grpc" and port is None)
            or len(names) not in (1, 2)
            or not (version is None or version.isdecimal())
        ):
            raise expected
        return cls(parts.scheme, parts.netloc, names[0], int(version) if version else None)

    def __str__(self) -> str:
        version = "" if self.version is None else f"/{self.version}"
        return f"{self.scheme}://{self.host}/{self.model}{version}"


class Transport(ABC):
    """Sends requests to a served model.

    Args:
        address: of the model.
        timeout: seconds per request.
        retries: how often a request is repeated while the server is unreachable or overloaded.
    """

    def __init__(self, address: Address, timeout: float, retries: int):
        self.address, self.timeout, self.retries = address, timeout, retries

    @abstractmethod
    def card(self) -> bytes:
        """Returns the model card as JSON."""

    @abstractmethod
    def upscale(self, images: np.ndarray, theta: bool, dtype: str) -> dict[str, np.ndarray]:
        """Returns "sr" and, if asked for, "theta" of a batch of images.

        Args:
            images: (n, h, w, c), values 0..255.
            theta: whether to compute theta.
            dtype: dtype of the images in the request.
        """

    def _retry(self, send: Callable[[], Any]) -> Any:
        """Calls `send` until it succeeds.

        The pauses, 0.2, 0.4, 0.8, ... seconds, are lengthened at random by up to a half, so that
        many clients do not return at the same moment.

        Raises:
            Unavailable: if the server is still unreachable or overloaded at the last retry.
        """
        for attempt in range(self.retries + 1):
            try:
                return send()
            except Busy as busy:
                if attempt == self.retries:
                    retries = "1 retry" if self.retries == 1 else f"{self.retries} retries"
                    after = f" after {retries}" if self.retries else ""
                    raise Unavailable(
                        f"{self.address}: {busy}{after}: check the address, and that the server is"
                        " running and not overloaded"
                    ) from None
                time.sleep(_FIRST_PAUSE * 2**attempt * random.uniform(1, 1.5))

    def _not_found(self, detail: str) -> Unavailable:
        address = self.address
        missing = f"model {address.model!r}"
        if address.version is not None:
            missing = f"version {address.version} of {missing}"
        return Unavailable(
            f"{address}: the server has no {missing} ({_one_line(detail)}): check the name"
        )

    def _refused(self, detail: str) -> UserError:
        return UserError(f"{self.address}: request refused: {_one_line(detail)}")

    def _too_slow(self) -> UserError:
        return UserError(
            f"{self.address}: no answer within {self.timeout:g} s: increase the timeout, or send"
            " smaller tiles"
        )


class GrpcTransport(Transport):
    """Transport by gRPC: PredictionService.Predict with uncompressed tensors."""

    def __init__(self, address: Address, timeout: float, retries: int):
        super().__init__(address, timeout, retries)
        with needs_extra("serve"):
            import grpc
            from tensorflow_serving.apis import prediction_service_pb2_grpc

        options = [
            ("grpc.max_receive_message_length", -1),  # unlimited; the default is 4 MiB
            ("grpc.max_send_message_length", -1),
            ("grpc.initial_reconnect_backoff_ms", 100),
        ]
        self._grpc = grpc
        channel = grpc.insecure_channel(address.host, options=options)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def card(self) -> bytes:
        return self._predict("model_card", "query", np.array([b""], object))["card"][0]

    def upscale(self, images: np.ndarray, theta: bool, dtype: str) -> dict[str, np.ndarray]:
        signature = "serving_default" if theta else "sr_only"
        return self._predict(signature, "image", to_dtype(images, dtype))

    def _predict(self, signature: str, name: str, value: np.ndarray) -> dict[str, np.ndarray]:
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        request.model_spec.name = self.address.model
        request.model_spec.signature_name = signature
        if self.address.version is not None:
            request.model_spec.version.value = self.address.version
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        answer = self._retry(lambda: self._send(request))
        return {key: tf.make_ndarray(tensor) for key, tensor in answer.outputs.items()}

    def _send(self, request: Any) -> Any:
        codes = self._grpc.StatusCode
        try:
            return self._stub.Predict(request, timeout=self.timeout)
        except self._grpc.RpcError as error:
            code, detail = error.code(), error.details() or ""
            if code is codes.UNAVAILABLE:
                unreachable = "failed to connect" in detail.lower()
                raise Busy(_UNREACHABLE if unreachable else _busy(detail)) from None
            if code is codes.NOT_FOUND:
                raise self._not_found(detail) from None
            if code is codes.DEADLINE_EXCEEDED:
                raise self._too_slow() from None
            raise self._refused(detail or code.name) from None


class RestTransport(Transport):
    """Transport by REST: POST :predict with images as PNG, a tenth of the size of JSON numbers."""

    def __init__(self, address: Address, timeout: float, retries: int):
        super().__init__(address, timeout, retries)
        self._session = requests.Session()
        self._session.mount(f"{address.scheme}://", HTTPAdapter(pool_maxsize=_CONNECTIONS))

    def card(self) -> bytes:
        return self._predict("model_card", [{"query": ""}])[0].encode()

    def upscale(self, images: np.ndarray, theta: bool, dtype: str) -> dict[str, np.ndarray]:
        signature = "image_bytes" if theta else "image_bytes_sr_only"
        answers = self._predict(signature, [{"image_bytes": _encode_png(x)} for x in images])
        if not theta:
            # A signature with a single output returns it without its name.
            return {"sr": np.stack([_decode_png(answer, np.uint8) for answer in answers])}
        sr = np.stack([_decode_png(answer["sr_image_bytes"], np.uint8) for answer in answers])
        steps = np.stack(
            [_decode_png(answer["theta_image_bytes"], np.uint16) for answer in answers]
        )
        return {"sr": sr, "theta": (steps / THETA_STEPS).astype(np.float32)}

    def _predict(self, signature: str, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
        address = self.address
        version = "" if address.version is None else f"/versions/{address.version}"
        url = f"{address.scheme}://{address.host}/v1/models/{address.model}{version}:predict"
        body = {"signature_name": signature, "instances": rows}
        return self._retry(lambda: self._send(url, body))["predictions"]

    def _send(self, url: str, body: Any) -> Any:
        try:
            answer = self._session.post(url, json=body, timeout=self.timeout)
        except requests.ReadTimeout:
            raise self._too_slow() from None
        except (requests.ConnectionError, requests.Timeout):
            raise Busy(_UNREACHABLE) from None
        except requests.RequestException as error:
            raise self._refused(str(error)) from None
        if answer.status_code == 200:
            return answer.json()
        try:
            detail = str(answer.json()["error"])
        except (ValueError, KeyError, TypeError):
            detail = f"HTTP status {answer.status_code}"
        if answer.status_code == 503:
            raise Busy(_busy(detail))
        if answer.status_code == 404:
            raise self._not_found(detail)
        raise self._refused(detail)


def _encode_png(image: np.ndarray) -> dict[str, str]:
    png = imagecodecs.png_encode(to_dtype(image, "uint8"), level=1)
    return {"b64": base64.b64encode(png).decode()}


def _decode_png(value: Mapping[str, str], dtype: npt.DTypeLike) -> np.ndarray:
    image = imagecodecs.png_decode(base64.b64decode(value["b64"]))
    if image.dtype != dtype:
        raise ValueError(f"a PNG of {image.dtype}")
    return image[..., None] if image.ndim == 2 else image


def _busy(detail: str) -> str:
    return f"unavailable ({_one_line(detail)})"


def _one_line(text: str) -> str:
    """Returns the first 300 characters in one line, without TensorFlow's notes on its graph.

    Those are the names of functions and nodes, {{...}}, also cut off, and "assertion failed:" with
    brackets around each part of the message.
    """
    text = re.sub(r"\{\{[^{}]*(\}\}|$)|\[\[.*|assertion failed:", "", text, flags=re.DOTALL)
    return " ".join(re.sub(r"\[([^][]*)\]", r"\1", text).split())[:300]
