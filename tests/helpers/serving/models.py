"""The models of the stand-in for TensorFlow Serving.

Unlike the real server (deploy/), it neither batches requests nor loads new versions.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from udl_tf.errors import UserError
from udl_tf.saved.exported import version_numbers

_CODES = {3: "INVALID_ARGUMENT", 8: "RESOURCE_EXHAUSTED"}  # TensorFlow's numbers are gRPC's
_AT_A_TIME = 2  # requests that are computed at once; others wait


class Refused(Exception):
    """A request that the server refuses; `code` is the name of a gRPC status code."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class _Model:
    """A loaded version and the signatures in its file."""

    loaded: Any
    signatures: Mapping[str, meta_graph_pb2.SignatureDef]


class StandIn:
    """The models of some folders.

    Args:
        folders: folders by model name, each with versions; the latest is served, as by the default
            policy of TensorFlow Serving.

    Raises:
        UserError: if a folder holds no version, or one that cannot be loaded.
    """

    def __init__(self, folders: Mapping[str, Path]):
        self._models = {name: _load_latest(folder) for name, folder in folders.items()}
        self._turns = threading.Semaphore(_AT_A_TIME)

    def find(self, name: str, version: int | None) -> tuple[int, _Model]:
        """Returns (version, model).

        Raises:
            Refused: NOT_FOUND, with the message of TensorFlow Serving.
        """
        loaded, model = self._models.get(name, (None, None))
        if model is None or loaded is None or version not in (None, loaded):
            wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise Refused("NOT_FOUND", f"Servable not found for request: {wanted}")
        return loaded, model

    def predict(
        self, name: str, version: int | None, signature: str, inputs: Mapping[str, tf.Tensor]
    ) -> dict[str, np.ndarray]:
        """Returns the outputs of a signature.

        Raises:
            Refused: NOT_FOUND, or INVALID_ARGUMENT for inputs that the signature does not accept.
        """
        _, model = self.find(name, version)
        known = self.signature(model, signature)
        if set(inputs) != set(known.inputs):
            raise Refused(
                "INVALID_ARGUMENT",
                f"input keys {sorted(inputs)}; {signature} expects {sorted(known.inputs)}",
            )
        for key, value in inputs.items():
            _check(key, value, known.inputs[key])
        try:
            with self._turns:
                outputs = model.loaded.signatures[signature](**inputs)
                return {key: value.numpy() for key, value in outputs.items()}
        except tf.errors.OpError as error:
            raise Refused(_CODES.get(error.error_code, "INTERNAL"), error.message) from None

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Makes all requests wait for the duration of the block."""
        for _ in range(_AT_A_TIME):
            self._turns.acquire()
        try:
            yield
        finally:
            self._turns.release(_AT_A_TIME)

    def signature(self, model: _Model, name: str) -> meta_graph_pb2.SignatureDef:
        """Returns the inputs and outputs of a signature.

        Raises:
            Refused: INVALID_ARGUMENT, if the model does not have it.
        """
        found = model.signatures.get(name)
        if found is None:
            raise Refused(
                "INVALID_ARGUMENT",
                f"signature {name!r} is not in the model, which has {sorted(model.signatures)}",
            )
        return found


def _check(key: str, value: tf.Tensor, expected: Any) -> None:
    dtype, shape = tf.as_dtype(expected.dtype), tf.TensorShape(expected.tensor_shape)
    if value.dtype != dtype:
        raise Refused(
            "INVALID_ARGUMENT", f"input {key} is {value.dtype.name}; expected {dtype.name}"
        )
    if not shape.is_compatible_with(value.shape):
        raise Refused("INVALID_ARGUMENT", f"input {key} has shape {value.shape}; expected {shape}")


def _load_latest(folder: Path) -> tuple[int, _Model]:
    numbers = version_numbers(folder)
    if not numbers:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder: check the path")
        hint = f": use {folder.parent}" if (folder / "saved_model.pb").exists() else ""
        raise UserError(
            f"{folder}: holds no version of a model; expected a folder written by `udl-tf export"
            f" savedmodel`, which holds versions{hint}"
        )
    version = max(numbers)
    path = folder / str(version)
    proto = saved_model_pb2.SavedModel()
    try:
        proto.ParseFromString((path / "saved_model.pb").read_bytes())
        loaded = tf.saved_model.load(str(path))
    except Exception as error:  # TensorFlow raises many kinds for a damaged folder
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: cannot be loaded ({reason}): export it again") from None
    signatures = {
        name: signature
        for name, signature in proto.meta_graphs[0].signature_def.items()
        if not name.startswith("__")
    }
    return version, _Model(loaded, signatures)
