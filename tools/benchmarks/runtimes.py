"""Speed of one exported network in ONNX Runtime, LiteRT and OpenVINO.

It answers whether an export for OpenVINO would pay: all runtimes run the same network in float32
with the same number of threads, and OpenVINO converts the ONNX file.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.exports import SIDE
from benchmarks.turns import Contestants, in_turns, median_and_range
from udl_tf._support.hardware import usable_cores
from udl_tf.errors import needs_extra
from udl_tf.export.onnx import export_onnx
from udl_tf.export.tflite import export_tflite
from udl_tf.hub import presets
from udl_tf.saved.exported import open_onnx, open_tflite


def run_runtimes(model: Path | str, folder: Path, repeats: int) -> dict[str, dict[str, Any]]:
    """Exports a model with and without theta, and times an image of 128x128 LR pixels.

    Args:
        model: preset or run folder.
        folder: for the exports; existing ones are used again.
        repeats: of each runtime, in turns.

    Returns:
        By runtime the seconds of all repeats, for the image "alone" and "with_theta", and the
        largest "difference" of its image from that of ONNX Runtime, in grey levels.
    """
    lr = np.random.default_rng(0).uniform(0, 255, (1, SIDE, SIDE, 3)).astype(np.float32)
    rows: dict[str, dict[str, Any]] = {}
    for key, theta in (("alone", False), ("with_theta", True)):
        onnx, tflite = folder / f"{key}.onnx", folder / f"{key}.tflite"
        for path, export in ((onnx, export_onnx), (tflite, export_tflite)):
            if not path.exists():
                export(presets.find(model), path, uncertainty=theta)
        contestants = _contestants(onnx, tflite, lr, ("sr", "theta") if theta else ("sr",))
        for name, seconds in in_turns(contestants, repeats).items():
            row = rows.setdefault(name, {"difference": 0.0})
            row[key] = seconds
            if not isinstance(seconds, str):
                images = [contestants[n]()()["sr"] for n in (name, "ONNX Runtime")]
                row["difference"] = max(
                    row["difference"], float(np.abs(np.subtract(*images)).max())
                )
    return rows


def _contestants(onnx: Path, tflite: Path, lr: np.ndarray, outputs: Sequence[str]) -> Contestants:
    return {
        "ONNX Runtime": lambda: partial(open_onnx(onnx).forward, lr, outputs),
        "LiteRT": lambda: partial(open_tflite(tflite).forward, lr, outputs),
        "OpenVINO": lambda: partial(_openvino(onnx, lr.shape), lr),
    }


def runtimes_table(rows: dict[str, dict[str, Any]]) -> list[list[str]]:
    """Returns the cells of a Markdown table, header first."""
    cells = [["runtime", f"s, {SIDE}²", "with θ", "largest difference of the image"]]
    for name, row in rows.items():
        if isinstance(row["alone"], str):
            cells.append([name, row["alone"], "", ""])
            continue
        times = [median_and_range(row[key]) for key in ("alone", "with_theta")]
        cells.append([name, *times, f"{row['difference']:.1g}"])
    return cells


def _openvino(path: Path, shape: tuple[int, ...]) -> Callable[[np.ndarray], Any]:
    """Returns the model of an ONNX file, compiled for inputs of one shape."""
    with needs_extra("bench"):
        import openvino  # pyright: ignore[reportMissingImports]

    model = openvino.convert_model(path)
    model.reshape(shape)
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": usable_cores(),
    }
    return openvino.Core().compile_model(model, "CPU", settings)
