"""Weights of PyTorch networks in files: state_dicts by torch.save, and safetensors."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from udl_tf._support.json_files import parse_json
from udl_tf.errors import UserError, first_line, needs_extra
from udl_tf.saved.torch_layers import State

_EXPECTED = "torch.save(network.state_dict()) or a .safetensors file"
# Entries that hold the state_dict; the moving average, which is published, first.
_ENTRIES = ("params_ema", "params", "state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")  # of all names, by DataParallel and torch.compile
_SAFETENSORS = {  # NumPy's names of its types
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?",
}  # fmt: skip


def read_state_dict(path: Path) -> State:
    """Reads the arrays of a state_dict; no code in the file is run.

    Args:
        path: a file by torch.save, possibly with the state_dict as an entry of a dict, or a
            .safetensors file.

    Raises:
        UserError: if the file is damaged or holds something else, or torch is not installed.
    """
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "no such file"
        raise UserError(f"{path}: {found}: expected {_EXPECTED}")
    arrays = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    if not arrays:
        raise UserError(f"{path}: contains no tensors: expected {_EXPECTED}")
    for name, values in arrays.items():
        if not np.isfinite(values).all():
            raise UserError(
                f"{path}: {name} contains NaN or infinite values: expected finite weights: use an"
                " earlier checkpoint"
            )
    while prefix := next((p for p in _PREFIXES if all(k.startswith(p) for k in arrays)), None):
        arrays = {name.removeprefix(prefix): values for name, values in arrays.items()}
    return arrays


def _read_torch(path: Path) -> State:
    with needs_extra("torch"):
        import torch
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # unpickling fails in many ways, and with advice that does not fit here
        raise UserError(f"{path}: damaged, or not a state_dict: expected {_EXPECTED}") from None
    tensors = _find_tensors(content, path)
    return {name: _to_array(name, tensor, path) for name, tensor in tensors.items()}


def _find_tensors(content: Any, path: Path) -> Mapping[str, Any]:
    """Returns the state_dict: the content of a file, or an entry of it."""
    import torch

    while isinstance(content, dict):
        inner = (content.get(entry) for entry in _ENTRIES)
        found = next((value for value in inner if isinstance(value, dict)), None)
        if found is None:
            break
        content = found
    if not (isinstance(content, dict) and all(isinstance(name, str) for name in content)):
        raise UserError(f"{path}: expected a dict of tensors, {_EXPECTED}")
    for name, value in content.items():
        if not torch.is_tensor(value):
            kind = type(value).__name__
            raise UserError(f"{path}: {name} is a {kind}: expected a dict of tensors, {_EXPECTED}")
    return content


def _to_array(name: str, tensor: Any, path: Path) -> np.ndarray:
    import torch

    plain = tensor.layout is torch.strided and not (tensor.is_meta or tensor.is_complex())
    if not plain or tensor.is_quantized:
        kind = "quantized" if tensor.is_quantized else f"{tensor.layout} of {tensor.dtype}"
        kind = kind.replace("torch.", "") + (" without data" if tensor.is_meta else "")
        raise UserError(
            f"{path}: {name} is {kind}: expected dense tensors of real numbers: convert it before"
            " torch.save"
        )
    return tensor.detach().float().numpy()


def _read_safetensors(path: Path) -> State:
    """Reads a safetensors file: length of the header (8 bytes), header as JSON, data."""
    content = memoryview(path.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    entries = parse_json(bytes(content[8:start]), path, f"expected {_EXPECTED}")
    entries.pop("__metadata__", None)
    data = content[start:]
    return {name: _decode(name, entry, data, path) for name, entry in entries.items()}


def _decode(name: str, entry: Any, data: memoryview, path: Path) -> np.ndarray:
    try:
        first, last = entry["data_offsets"]
        if not 0 <= first <= last <= len(data):
            raise ValueError(f"bytes {first} to {last} of {len(data)}")
        values = np.frombuffer(data[first:last], _SAFETENSORS[entry["dtype"]])
        if entry["dtype"] == "BF16":  # the upper half of a float32
            values = (values.astype(np.uint32) << 16).view(np.float32)
        return values.astype(np.float32).reshape(entry["shape"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: {name} cannot be read ({first_line(error)}): expected dense tensors of real"
            " numbers: the file may be damaged"
        ) from None
