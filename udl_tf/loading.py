"""Opens a trained model by its path, whatever it is stored as."""

from pathlib import Path

from udl_tf import bundle, presets, runtimes
from udl_tf.errors import UserError
from udl_tf.files import sha256
from udl_tf.upscaler import Upscaler

_FILES = {".tflite": runtimes.open_tflite, ".onnx": runtimes.open_onnx}


def load(path: Path | str) -> Upscaler:
    """Opens a preset, a run folder, a SavedModel's folder, a .tflite or .onnx file, or a server.

    Args:
        path: a preset's name, such as edsr_s_x4 (udl_tf.presets); or of the folder or file; or the
            address of a model that TF Serving serves, such as
            grpc://localhost:8500/NAME (udl_tf.serving.Client).

    Raises:
        UserError: if it is none of these, damaged, or a package that it needs is missing.
    """
    if "://" in str(path):
        from udl_tf.serving import Client

        return Client(str(path))
    path = presets.find(path)
    if path.is_file():
        if path.suffix not in _FILES:
            known = " ".join(_FILES)
            raise UserError(f"{path}: expected a preset, a run folder or a file ending in {known}")
        return _FILES[path.suffix](path)
    if path.is_dir() and runtimes.is_savedmodel(path):
        return runtimes.open_savedmodel(path)
    return bundle.load(path)


def fingerprint(path: Path | str) -> str | None:
    """What changes when what a path or preset's name stands for does; None of a server."""
    path = presets.find(path)
    savedmodel = runtimes.latest_version(path) if path.is_dir() else path
    files = path, path / bundle.MANIFEST, savedmodel / "fingerprint.pb"
    return next((sha256(file) for file in files if file.is_file()), None)


def load_in(path: Path | str, policy: str) -> Upscaler:
    """As `load`, to compute in a Keras policy; exports know float32 only.

    Raises:
        UserError: also for another policy with what is no preset and no run folder.
    """
    return load(path) if policy == "float32" else bundle.load(presets.find(path), policy)
