"""Exported models as upscalers: TFLite by ai-edge-litert, ONNX by onnxruntime, SavedModels."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from udl_tf.errors import UserError, needs_extra
from udl_tf.imaging.dtypes import to_dtype
from udl_tf.inference.tiling import Tile, core_side, run_tiles, scaled
from udl_tf.inference.upscaler import BORDER, Pass, Upscaler
from udl_tf.saved.card import CARD, ModelCard, no_card, parse_card, read_appended_card

Forward = Callable[[np.ndarray, Sequence[str]], dict[str, np.ndarray]]
"""(float32 (n, h, w, 3) in 0..255, names of outputs) -> these, float32 in grey levels."""


class WindowRunner:
    """Computes maps of a picture in windows, each of which goes through the whole model at once.

    Args:
        card: of the model.
        forward: the model.
        outputs: maps to compute; the values that `run` yields have three channels for each.
    """

    def __init__(self, card: ModelCard, forward: Forward, outputs: Sequence[str]):
        self.card, self.outputs = card, tuple(outputs)
        self._forward = forward

    @property
    def radius(self) -> int:
        return self.card.radius

    def run(
        self, lr: np.ndarray, tile: int | None = None, budget: float | None = None
    ) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
        """See udl_tf.inference.upscaler.Runner."""
        card = self.card
        height, width = lr.shape[:2]
        if card.tile is None:
            side = tile or self._side(height, width, budget)
            needed = [max(length, card.smallest) for length in (height, width)]
            region = None
        elif tile is None:
            # So many equal cores that every window is as large as the tile.
            side = core_of_tile(card.tile, card.margin, card.align)
            inside = [math.ceil(length / side) * side for length in (height, width)]
            region = (slice(0, inside[0]), slice(0, inside[1]))
            needed = [max(length, card.tile) for length in inside]
            needed = [length + (card.tile - length) % card.align for length in needed]
        else:
            raise UserError(
                f"tile {tile}: this file computes tiles of {card.tile} pixels only: leave it out"
            )
        after = [(0, n - length) for n, length in zip(needed, (height, width), strict=True)]
        padded = np.pad(lr, (*after, (0, 0)), "symmetric")

        def compute(tiles: Sequence[Tile]) -> np.ndarray:
            windows = [padded[rows.window, columns.window] for rows, columns in tiles]
            made = self._forward(np.stack(windows), self.outputs)
            return np.concatenate([made[name] for name in self.outputs], axis=-1)

        size = (needed[0], needed[1])
        for part, values in run_tiles(compute, size, side, card.margin, card.align, region=region):
            yield scaled(part, card.scale), values

    def _side(self, height: int, width: int, budget: float | None) -> int:
        """The largest core whose window fits the budget, but none smaller than the margin.

        A served model has no budget, since it computes in tiles of its own, but a hard limit.
        """
        margin, limit = self.card.margin, self.card.max_pixels
        if limit is not None:
            if height * width <= limit:
                return max(height, width)
            side = core_of_tile(math.isqrt(limit), margin, self.card.align)
            if side >= 1:
                return side
            raise UserError(
                f"an image of {width}x{height} pixels: the server accepts {limit} at a time, and"
                f" tiles of {self.card.name} overlap by {margin}: export it again with max_pixels"
                f" at least {(4 * margin) ** 2}"
            )
        budget = budget or min(2e9, psutil.virtual_memory().available / 4)
        size = 1 if self.card.precision == "int8" else 4  # bytes of a value
        room = budget / (size * self.card.floats)
        smallest = (3 * margin) ** 2  # window: a picture within is cheapest whole
        return (
            max(height, width) if height * width <= max(room, smallest) else core_side(room, margin)
        )


def core_of_tile(tile: int, margin: int, align: int) -> int:
    """What is kept of a window of `tile` pixels a side, wherever the window starts."""
    return tile - 2 * margin - (align - 1)


class ExportedUpscaler(Upscaler):
    """An exported model; `predict` and `upscale` work as a trained one's.

    Args:
        card: of the model.
        forward: what computes it.
    """

    def __init__(self, card: ModelCard, forward: Forward):
        self.card, self.forward = card, forward
        self.scale, self.calibration = card.scale, card.calibration
        self._border = 0 if card.border else BORDER

    @property
    def has_uncertainty(self) -> bool:
        return "theta" in self.card.outputs

    @property
    def eight_bit(self) -> bool:
        return self.card.format == "savedmodel" or self.card.image_dtype == "uint8"

    def _passes(self, uncertainty: bool, bordered: bool = False) -> Sequence[Pass]:
        names = [name for name in self.card.outputs if uncertainty or name == "sr"]
        runner = WindowRunner(self.card, self.forward, names)
        return [Pass(runner, tuple(names))]


def open_tflite(path: Path) -> ExportedUpscaler:
    """Opens a .tflite file in LiteRT's interpreter.

    Raises:
        UserError: if it is none of ours or damaged, or ai-edge-litert is missing.
    """
    with needs_extra("tflite"):
        from ai_edge_litert.interpreter import Interpreter

    card = read_appended_card(path)
    try:
        interpreter = Interpreter(model_path=str(path), num_threads=os.cpu_count())
        interpreter.allocate_tensors()
        (image,) = interpreter.get_input_details()
        details = interpreter.get_signature_runner().get_output_details()
    except (ValueError, RuntimeError) as error:
        raise _unreadable(path, error) from None

    def forward(lr: np.ndarray, outputs: Sequence[str]) -> dict[str, np.ndarray]:
        parts = [_run(window[None], outputs) for window in lr] if card.tile else [_run(lr, outputs)]
        return {name: np.concatenate([part[name] for part in parts]) for name in outputs}

    def _run(lr: np.ndarray, outputs: Sequence[str]) -> dict[str, np.ndarray]:
        if lr.shape != tuple(interpreter.get_input_details()[0]["shape"]):
            interpreter.resize_tensor_input(image["index"], lr.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(image["index"], _quantized(lr, image))
        interpreter.invoke()
        made = {name: interpreter.get_tensor(details[name]["index"]) for name in outputs}
        return {name: _real(value, details[name]) for name, value in made.items()}

    return ExportedUpscaler(card, forward)


def _quantized(values: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    """Values as a tensor holds them."""
    if detail["dtype"] == np.float32:
        return values
    scale, zero = detail["quantization"]
    limits = np.iinfo(detail["dtype"])
    return np.clip(np.round(values / scale + zero), limits.min, limits.max).astype(detail["dtype"])


def _real(values: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    """What a tensor's values mean."""
    if detail["dtype"] == np.float32:
        return values
    scale, zero = detail["quantization"]
    return ((values.astype(np.float32) - zero) * scale).astype(np.float32)


def open_onnx(path: Path) -> ExportedUpscaler:
    """Opens a .onnx file in onnxruntime.

    Raises:
        UserError: if it is none of ours or damaged, or onnxruntime is missing.
    """
    with needs_extra("onnx"):
        import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(path))
    except Exception as error:  # its errors have no common class but this
        raise _unreadable(path, error) from None
    text = session.get_modelmeta().custom_metadata_map.get(CARD)
    if text is None:
        raise no_card(path, "export_onnx")

    def forward(lr: np.ndarray, outputs: Sequence[str]) -> dict[str, np.ndarray]:
        values = session.run(list(outputs), {"lr": lr})
        return dict(zip(outputs, values, strict=True))

    return ExportedUpscaler(parse_card(text, path), forward)


def open_savedmodel(folder: Path) -> ExportedUpscaler:
    """Opens a served model: the folder of a version, or one of several, of which the latest.

    It rounds the picture to 8 bits, and takes 8-bit pictures only unless exported otherwise.

    Raises:
        UserError: if it is none of ours or damaged.
    """
    import tensorflow as tf

    folder = latest_version(folder)
    try:
        card = parse_card((folder / "assets" / CARD).read_bytes(), folder)
    except OSError:
        raise no_card(folder, "export_savedmodel") from None
    try:
        loaded: Any = tf.saved_model.load(str(folder))
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise _unreadable(folder, error) from None

    def forward(lr: np.ndarray, outputs: Sequence[str]) -> dict[str, np.ndarray]:
        serve = loaded.signatures["serving_default" if "theta" in outputs else "sr_only"]
        image = tf.constant(to_dtype(lr, card.image_dtype))
        made = serve(image=image)
        return {name: made[name].numpy().astype(np.float32) for name in outputs}

    return ExportedUpscaler(card, forward)


def is_savedmodel(folder: Path) -> bool:
    """Whether a folder is a SavedModel, or holds versions of one."""
    return (latest_version(folder) / "saved_model.pb").is_file()


def latest_version(folder: Path) -> Path:
    """The folder itself, or, if it holds versions as TF Serving expects, the highest number's."""
    numbers = version_numbers(folder)
    return folder / str(max(numbers)) if numbers else folder


def version_numbers(base: Path) -> list[int]:
    """The versions of a served model that are there."""
    return [int(path.name) for path in base.glob("*") if path.name.isdigit()]


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: cannot be loaded ({' '.join(str(error).split())}): export it again")
