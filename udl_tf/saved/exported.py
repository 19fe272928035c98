"""Exported models as upscalers, in the runtimes LiteRT, ONNX Runtime and TensorFlow."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from udl_tf._support.hardware import usable_cores
from udl_tf.errors import UserError, needs_extra
from udl_tf.imaging.dtypes import to_dtype
from udl_tf.imaging.value_range import ValueRange
from udl_tf.inference.passes import Pass
from udl_tf.inference.upscaler import BORDER, Upscaler
from udl_tf.saved.card import CARD, ModelCard, missing_card, parse_card, read_appended_card
from udl_tf.saved.windows import Forward, WindowRunner


class ExportedUpscaler(Upscaler):
    """An Upscaler that runs an exported model.

    Args:
        card: of the model.
        forward: runs the model.
    """

    def __init__(self, card: ModelCard, forward: Forward):
        self.card, self.forward = card, forward
        self.scale, self.channels, self.calibration = card.scale, card.channels, card.calibration
        self.value_range = ValueRange.of(card.range)
        self._border = 0 if card.border else BORDER

    @property
    def has_uncertainty(self) -> bool:
        return "theta" in self.card.outputs

    @property
    def eight_bit(self) -> bool:
        in_graph = self.card.format == "savedmodel" and not self.card.measures
        return in_graph or self.card.image_dtype == "uint8"

    def _passes(self, uncertainty: bool, bordered: bool = False) -> Sequence[Pass]:
        names = [name for name in self.card.outputs if uncertainty or name == "sr"]
        runner = WindowRunner(self.card, self.forward, names)
        return [Pass(runner, tuple(names))]


def open_tflite(path: Path) -> ExportedUpscaler:
    """Opens a .tflite file in LiteRT's interpreter.

    Raises:
        UserError: if the file is corrupt or was not exported by udl_tf, or ai-edge-litert is
            missing.
    """
    card = read_appended_card(path)
    return ExportedUpscaler(card, _LiteRT(path, fixed_size=card.tile is not None).forward)


class _LiteRT:
    """A .tflite file in LiteRT's interpreter.

    Args:
        path: the file.
        fixed_size: whether it accepts single images of one size only.
    """

    def __init__(self, path: Path, fixed_size: bool):
        with needs_extra("tflite"):
            from ai_edge_litert.interpreter import Interpreter

        self._fixed_size = fixed_size
        try:
            self._interpreter = Interpreter(model_path=str(path), num_threads=usable_cores())
            self._interpreter.allocate_tensors()
            (self._input,) = self._interpreter.get_input_details()
            signature = self._interpreter.get_signature_runner()
            self._outputs = signature.get_output_details()
        except (ValueError, RuntimeError) as error:
            raise _unreadable(path, error) from None

    def forward(self, lr: np.ndarray, outputs: Sequence[str]) -> dict[str, np.ndarray]:
        if not self._fixed_size:
            return self._run(lr, outputs)
        parts = [self._run(window[None], outputs) for window in lr]
        return {name: np.concatenate([part[name] for part in parts]) for name in outputs}

    def _run(self, lr: np.ndarray, outputs: Sequence[str]) -> dict[str, np.ndarray]:
        interpreter = self._interpreter
        if lr.shape != tuple(interpreter.get_input_details()[0]["shape"]):
            interpreter.resize_tensor_input(self._input["index"], lr.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(self._input["index"], _quantize(lr, self._input))
        interpreter.invoke()
        details = {name: self._outputs[name] for name in outputs}
        return {
            name: _dequantize(interpreter.get_tensor(detail["index"]), detail)
            for name, detail in details.items()
        }


def _quantize(values: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    """Converts float32 values to the dtype of a tensor."""
    if detail["dtype"] == np.float32:
        return values
    scale, zero = detail["quantization"]
    return to_dtype(values / scale + zero, detail["dtype"])


def _dequantize(values: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    """Converts the values of a tensor to float32."""
    if detail["dtype"] == np.float32:
        return values
    scale, zero = detail["quantization"]
    result = values.astype(np.float32)
    result -= zero
    result *= scale
    return result


def open_onnx(path: Path) -> ExportedUpscaler:
    """Opens a .onnx file in ONNX Runtime.

    Raises:
        UserError: if the file is corrupt or was not exported by udl_tf, or onnxruntime is missing.
    """
    with needs_extra("onnx"):
        import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = usable_cores()
    try:
        session = onnxruntime.InferenceSession(str(path), settings)
    except Exception as error:  # its errors share no other base class
        raise _unreadable(path, error) from None
    text = session.get_modelmeta().custom_metadata_map.get(CARD)
    if text is None:
        raise missing_card(path)

    def forward(lr: np.ndarray, outputs: Sequence[str]) -> dict[str, np.ndarray]:
        values = session.run(list(outputs), {"lr": lr})
        return dict(zip(outputs, values, strict=True))

    return ExportedUpscaler(parse_card(text, path), forward)


def open_savedmodel(folder: Path) -> ExportedUpscaler:
    """Opens a SavedModel in TensorFlow: the folder of a version, or of versions (the latest).

    The graph rounds the image to 8 bits and, unless it was exported with image_dtype float32,
    accepts 8-bit images only; that of measurements does neither.

    Raises:
        UserError: if the folder is corrupt or was not exported by udl_tf.
    """
    import tensorflow as tf

    folder = latest_version(folder)
    try:
        card = parse_card((folder / "assets" / CARD).read_bytes(), folder)
    except OSError:
        raise missing_card(folder) from None
    try:
        loaded: Any = tf.saved_model.load(str(folder))
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise _unreadable(folder, error) from None

    def forward(lr: np.ndarray, outputs: Sequence[str]) -> dict[str, np.ndarray]:
        signature = loaded.signatures["serving_default" if "theta" in outputs else "sr_only"]
        maps = signature(image=tf.constant(to_dtype(lr, card.image_dtype)))
        return {name: maps[name].numpy().astype(np.float32) for name in outputs}

    return ExportedUpscaler(card, forward)


def is_savedmodel(folder: Path) -> bool:
    """Returns whether a folder is a SavedModel or holds versions of one."""
    return (latest_version(folder) / "saved_model.pb").is_file()


def latest_version(folder: Path) -> Path:
    """Returns the subfolder of the latest version, or `folder` itself if it holds no versions."""
    return max(_versions(folder).items(), default=(0, folder))[1]


def version_numbers(base: Path) -> list[int]:
    """Returns the numbers of the versions in the folder of a served model."""
    return list(_versions(base))


def _versions(base: Path) -> dict[int, Path]:
    """Returns the subfolders of the versions of a served model, by number."""
    return {int(path.name): path for path in base.glob("*") if path.name.isdecimal()}


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: cannot be loaded ({' '.join(str(error).split())}): export it again")
