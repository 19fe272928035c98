"""Loading of trained models: presets, run folders, exported models, served models."""

from collections.abc import Callable
from pathlib import Path

from udl_tf._support.files import sha256
from udl_tf._support.hardware import measure_rates
from udl_tf.errors import UserError
from udl_tf.hub import presets
from udl_tf.hub.handles import CONFIG, METADATA, is_handle
from udl_tf.inference.keras_upscaler import KerasUpscaler
from udl_tf.inference.upscaler import Upscaler
from udl_tf.saved import exported
from udl_tf.saved.bundle import MANIFEST, read_model, read_networks
from udl_tf.tasks import SRModel
from udl_tf.tasks.preset_folder import is_preset

_FILES = {".tflite": exported.open_tflite, ".onnx": exported.open_onnx}
_TORCH = (".pt", ".pth", ".ckpt", ".safetensors")
_POLICIES = {None: "float32", "float32": "float32", "bfloat16": "mixed_bfloat16"}


def load(path: Path | str | None = None, dtype: str | None = None) -> SRModel | Upscaler:
    """Loads a preset, a run folder, an exported model or a served model.

    Args:
        path: as for load_upscaler; None: `large_x4`, the best x4 preset for clean images.
        dtype: as for load_upscaler.

    Returns:
        A Keras model for a preset or a run folder, else an Upscaler; both have `upscale`.

    Raises:
        UserError: as load_upscaler.
    """
    _check(dtype)
    path = presets.BEST if path is None else path
    if _find_export(path) is None:
        return read_model(path, _policy(dtype))
    return load_upscaler(path, dtype)


def load_upscaler(path: Path | str, dtype: str | None = None) -> Upscaler:
    """Loads what upscales images with a trained model.

    Args:
        path: name of a preset, such as light_x4 (udl_tf.hub.presets), its folder or its handle on
            a model hub, such as hf://USER/NAME (udl_tf.hub.handles); path of a run folder, of a
            SavedModel folder, or of a .tflite or .onnx file; or address of a model on TensorFlow
            Serving, such as grpc://localhost:8500/NAME (udl_tf.saved.Client).
        dtype: precision of a preset or run folder: "float32" (also None), "bfloat16", or "auto",
            the faster of the two on this machine. An export computes in its own precision.

    Raises:
        UserError: if there is no model at the path, it is damaged, or a package that it needs is
            not installed.
    """
    _check(dtype)
    open_export = _find_export(path)
    if open_export is None:
        return KerasUpscaler(read_networks(path, _policy(dtype)))
    # "float32" passes, because commands have it as their default.
    if dtype == "bfloat16":
        raise UserError(
            f"{path}: bfloat16 is available for presets and run folders only: an export computes in"
            " the precision it was exported in",
            argument="precision",
        )
    return open_export()


def _check(dtype: str | None) -> None:
    if dtype not in (*_POLICIES, "auto"):
        raise UserError(
            f"dtype {dtype!r}: expected float32, bfloat16 or auto", argument="precision"
        )


def _policy(dtype: str | None) -> str:
    """Returns the Keras dtype policy of a precision."""
    return measure_rates().precision if dtype == "auto" else _POLICIES[dtype]


def _find_export(path: Path | str) -> Callable[[], Upscaler] | None:
    """Returns what opens an exported or served model; None for a preset or run folder."""
    if "://" in str(path) and not is_handle(path):
        from udl_tf.saved.client import Client

        return lambda: Client(str(path))
    place = presets.find(path)
    if place.is_dir() and exported.is_savedmodel(place):
        return lambda: exported.open_savedmodel(place)
    if not place.is_file():
        return None
    if place.suffix not in _FILES:
        known = " or ".join(_FILES)
        hint = ": run udl-tf import-torch on it first" if place.suffix in _TORCH else ""
        raise UserError(f"{place}: expected a preset, a run folder or a {known} file{hint}")
    return lambda: _FILES[place.suffix](place)


def name_of(path: Path | str) -> str:
    """Returns the name of a trained model, without folders, hub, user or server.

    hf://USER/NAME@REVISION is NAME@REVISION, and grpc://HOST:8500/NAME/VERSION is NAME_VERSION.

    Raises:
        UserError: if `path` is neither path nor name, handle or address.
    """
    if is_handle(path):
        return str(path).partition("://")[2].partition("/")[2].replace("/", "_")
    if "://" in str(path):
        from udl_tf.saved.transport import Address

        address = Address.parse(str(path))
        return address.model if address.version is None else f"{address.model}_{address.version}"
    return presets.find(path).resolve().name


def fingerprint(path: Path | str) -> str | None:
    """Returns a checksum that changes with the model; None for a model on a server."""
    path = presets.find(path)
    version = exported.latest_version(path) if path.is_dir() else path
    if is_preset(path):
        return f"{sha256(path / CONFIG)} {sha256(path / METADATA)}"  # the weights by their checksum
    files = path, path / MANIFEST, version / "fingerprint.pb"
    return next((sha256(file) for file in files if file.is_file()), None)
