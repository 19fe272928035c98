"""Handles of presets on model hubs: downloads and uploads.

hf://USER/NAME[@REVISION]                          Hugging Face
kaggle://USER/MODEL/keras/VARIATION[/VERSION]      Kaggle
"""

import re
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from udl_tf._support.files import sha256
from udl_tf._support.json_files import read_json
from udl_tf.errors import UserError, first_line

CONFIG, WEIGHTS, METADATA, CARD = "config.json", "model.weights.h5", "metadata.json", "README.md"
RESULTS = "metrics.json"
FILES = (CONFIG, WEIGHTS, METADATA, CARD, RESULTS)
"""Files of a preset (udl_tf.tasks.preset_folder); no others are transferred."""

_HANDLES = {
    "hf": (r"[\w.-]+/[\w.-]+(@[\w./-]+)?", "hf://USER/NAME", "huggingface_hub"),
    "kaggle": (
        r"[\w.-]+/[\w.-]+/[\w.-]+/[\w.-]+(/\d+)?",
        "kaggle://USER/MODEL/keras/VARIATION",
        "kagglehub",
    ),
}


def is_handle(model: Path | str) -> bool:
    """Returns whether `model` is written as the handle of a preset on a hub."""
    return isinstance(model, str) and model.partition("://")[0] in _HANDLES and "://" in model


@cache
def fetch(handle: str) -> Path:
    """Downloads a preset, unless the hub's cache has it, and returns its folder.

    Raises:
        UserError: if the handle is not valid, the hub's package is not installed, the preset cannot
            be downloaded, or its weights do not match their checksum.
    """
    hub, name, client = _open(handle)
    try:
        folder = Path(_DOWNLOADS[hub](client, name))
    except Exception as error:  # the clients raise errors of several packages
        raise UserError(
            f"{handle}: cannot be downloaded ({first_line(error)}): check the handle and the"
            " network connection"
        ) from error
    check_weights(folder, handle)
    return folder


def check_weights(folder: Path, name: Path | str) -> None:
    """Compares the weights of a preset with the checksum in its metadata.

    Args:
        folder: of the preset.
        name: of the preset in errors.

    Raises:
        UserError: if a file is missing or damaged.
    """
    for file in (CONFIG, WEIGHTS, METADATA):
        if not (folder / file).is_file():
            raise UserError(
                f"{name}: has no file {file}: expected a preset that SRModel.save_to_preset wrote"
            )
    if read_json(folder / METADATA, "restore the file").get("sha256") != sha256(folder / WEIGHTS):
        raise UserError(
            f"{name}: {WEIGHTS} does not match {METADATA} (the checksums differ): restore the file,"
            " or download the preset again"
        )


def upload_preset(uri: str, folder: Path | str) -> None:
    """Uploads the preset in a folder to a hub, where you must be logged in.

    Args:
        uri: handle under which others will find it, such as hf://USER/NAME.
        folder: that SRModel.save_to_preset wrote.

    Raises:
        UserError: if the handle is not valid, the hub's package is not installed, the folder holds
            no preset, or the upload fails.
    """
    folder = Path(folder)
    hub, name, client = _open(uri)
    if "@" in name:
        raise UserError(f"{uri}: expected a handle without a revision")
    check_weights(folder, folder)
    try:
        _UPLOADS[hub](client, name, folder)
    except Exception as error:
        raise UserError(
            f"{uri}: cannot be uploaded ({first_line(error)}): check that you are logged in and may"
            " write there"
        ) from error


def _open(handle: str) -> tuple[str, str, Any]:
    """Returns (hub, name on it, its client package) of a handle."""
    hub, _, name = handle.partition("://")
    if hub not in _HANDLES:
        raise UserError(f"{handle}: expected a handle such as hf://USER/NAME")
    pattern, example, package = _HANDLES[hub]
    if not re.fullmatch(pattern, name):
        raise UserError(f"{handle}: is not a handle of a preset: expected {example}")
    try:
        return hub, name, import_module(package)
    except ImportError:
        raise UserError(
            f"{handle}: needs the package {package}: pip install 'udl_tf[hub]'"
        ) from None


def _download_from_hugging_face(client: Any, name: str) -> str:
    repository, _, revision = name.partition("@")
    return client.snapshot_download(
        repository, revision=revision or None, allow_patterns=list(FILES)
    )


def _download_from_kaggle(client: Any, name: str) -> str:
    return client.model_download(name)


def _upload_to_hugging_face(client: Any, name: str, folder: Path) -> None:
    client.create_repo(name, exist_ok=True)
    client.upload_folder(repo_id=name, folder_path=str(folder), allow_patterns=list(FILES))


def _upload_to_kaggle(client: Any, name: str, folder: Path) -> None:
    others = [path.name for path in folder.iterdir() if path.name not in FILES]
    client.model_upload(name, str(folder), ignore_patterns=others)


_DOWNLOADS: dict[str, Callable[[Any, str], str]] = {
    "hf": _download_from_hugging_face,
    "kaggle": _download_from_kaggle,
}
_UPLOADS: dict[str, Callable[[Any, str, Path], None]] = {
    "hf": _upload_to_hugging_face,
    "kaggle": _upload_to_kaggle,
}
