"""Loads a trained model, whatever it is stored as."""

from pathlib import Path

from udl_tf._support.files import sha256
from udl_tf._support.hardware import measure_rates
from udl_tf.errors import UserError
from udl_tf.inference.keras_upscaler import KerasUpscaler
from udl_tf.inference.upscaler import Upscaler
from udl_tf.saved import exported, presets
from udl_tf.saved.bundle import MANIFEST, read_networks

_FILES = {".tflite": exported.open_tflite, ".onnx": exported.open_onnx}
_POLICIES = {None: "float32", "float32": "float32", "bfloat16": "mixed_bfloat16"}


def load(path: Path | str, dtype: str | None = None) -> Upscaler:
    """Loads a preset, a run folder, an exported model, or a model on a server.

    Args:
        path: name of a preset, such as edsr_s_x4 (udl_tf.saved.presets); path of a run folder, of
            a SavedModel folder, or of a .tflite or .onnx file; or address of a model on
            TF Serving, such as grpc://localhost:8500/NAME (udl_tf.saved.Client).
        dtype: precision to compute in: "float32", "bfloat16", or "auto", the faster of the two on
            this machine. None is float32. An export computes in its own precision.

    Raises:
        UserError: if the path is none of these, the model is damaged, or a package that it needs is
            not installed.
    """
    if dtype not in (*_POLICIES, "auto"):
        raise UserError(
            f"dtype {dtype!r}: expected float32, bfloat16 or auto", argument="precision"
        )
    if "://" in str(path):
        from udl_tf.saved.client import Client

        return _as_stored(Client(str(path)), path, dtype)
    path = presets.find(path)
    if path.is_file():
        if path.suffix not in _FILES:
            known = " ".join(_FILES)
            raise UserError(f"{path}: expected a preset, a run folder or a file ending in {known}")
        return _as_stored(_FILES[path.suffix](path), path, dtype)
    if path.is_dir() and exported.is_savedmodel(path):
        return _as_stored(exported.open_savedmodel(path), path, dtype)
    policy = measure_rates().precision if dtype == "auto" else _POLICIES[dtype]
    return KerasUpscaler(read_networks(path, policy))


def _as_stored(model: Upscaler, path: Path | str, dtype: str | None) -> Upscaler:
    if dtype not in (None, "float32", "auto"):
        raise UserError(
            f"{path}: an export computes in the precision it was exported in, not in {dtype}:"
            " choose a preset or a run folder",
            argument="precision",
        )
    return model


def fingerprint(path: Path | str) -> str | None:
    """Returns a checksum that changes when the model does; None for a model on a server."""
    path = presets.find(path)
    savedmodel = exported.latest_version(path) if path.is_dir() else path
    files = path, path / MANIFEST, savedmodel / "fingerprint.pb"
    return next((sha256(file) for file in files if file.is_file()), None)
