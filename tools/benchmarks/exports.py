"""Size, accuracy and speed of each export format, next to the Keras networks."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import udl_tf
from benchmarks.turns import median_and_range
from udl_tf._support.files import write_text
from udl_tf.data.sources import Dataset
from udl_tf.data.store import read_pair
from udl_tf.export.onnx import export_onnx
from udl_tf.export.parity import ParityError
from udl_tf.export.savedmodel import export_savedmodel
from udl_tf.export.tflite import export_tflite
from udl_tf.metrics import psnr_y
from udl_tf.saved.bundle import read_manifest
from udl_tf.saved.card import ModelCard
from udl_tf.saved.exported import ExportedUpscaler
from udl_tf.saved.loading import load_upscaler

SIDE = 128  # of the image that is timed, LR pixels

Row = dict[str, Any]
Places = dict[str, tuple[Path, Path]]
"""By format, the exports that are timed for the image alone, and with theta."""


@dataclass(frozen=True)
class Format:
    """A kind of export.

    Attributes:
        name: in the table.
        file: name of its file or folder.
        write: writes it.
        computes_all: whether an export with theta always computes theta, so that the image alone
            is timed on an export without.
    """

    name: str
    file: str
    write: Callable[..., ModelCard]
    computes_all: bool = True


def _savedmodel(run: Path | str, folder: Path | str) -> ModelCard:
    return export_savedmodel(run, folder, warmup=False)[1]


FORMATS = (
    Format("SavedModel", "savedmodel", _savedmodel, computes_all=False),
    Format("TFLite float32", "float32.tflite", export_tflite),
    Format("TFLite float16", "float16.tflite", partial(export_tflite, precision="float16")),
    Format("TFLite int8", "int8.tflite", partial(export_tflite, precision="int8")),
    Format("ONNX float32", "float32.onnx", export_onnx),
    Format("ONNX float16", "float16.onnx", partial(export_onnx, precision="float16")),
    Format("ONNX int8", "int8.onnx", partial(export_onnx, precision="int8")),
)


def run_exports(run: Path, folder: Path, dataset: Dataset, repeats: int = 5) -> list[Row]:
    """Exports a trained model with theta in every format, and measures each.

    Args:
        run: run folder.
        folder: for the exports; existing ones that are newer than the run are used again.
        dataset: test set on which PSNR-Y is measured, through `upscale`.
        repeats: of the timed image, the formats in turns.

    Returns:
        For Keras and each format: "format"; "mb", the size with theta; the result of its own
        comparison with Keras; "psnr_y", dB; "seconds" and "seconds_with_theta" of all repeats for
        an image of 128x128 LR pixels. An export that exceeded its bound has "refused", the error,
        instead.
    """
    scale = read_manifest(run).architecture.scale
    rows, places = _export_all(run, folder)
    pairs = [read_pair(source, scale) for source in dataset.sources]
    image = pairs[0][0]
    image = np.pad(image, ((0, SIDE), (0, SIDE), (0, 0)), "symmetric")[:SIDE, :SIDE]
    measured = [(row, places[row["format"]]) for row in rows if row["format"] in places]
    for row, (alone, _) in measured:
        model = load_upscaler(alone)
        results = [model.upscale(lr, uncertainty=False).image for lr, _ in pairs]
        values = [psnr_y(sr, hr, scale) for sr, (_, hr) in zip(results, pairs, strict=True)]
        row |= {"psnr_y": float(np.mean(values)), "seconds": [], "seconds_with_theta": []}
    for _ in range(repeats):
        for row, (alone, both) in measured:
            row["seconds"].append(_time(alone, image, theta=False))
            row["seconds_with_theta"].append(_time(both, image, theta=True))
    return rows


def exports_table(rows: list[Row], dataset: str, scale: int) -> list[list[str]]:
    """Returns the cells of a Markdown table, header first."""
    size = f"{SIDE}² → {scale * SIDE}²"
    header = [
        "format",
        "MB",
        "difference from Keras: sr, θ",
        f"PSNR-Y {dataset}",
        f"ms, {size}",
        "with θ",
    ]
    cells = [header]
    for row in rows:
        if "refused" in row:
            cells.append([row["format"], "", row["refused"], "", "", ""])
            continue
        cells.append(
            [
                row["format"],
                f"{row['mb']:.1f}",
                _difference(row),
                f"{row['psnr_y']:.3f}",
                *(_milliseconds(row[key]) for key in ("seconds", "seconds_with_theta")),
            ]
        )
    return cells


def _milliseconds(seconds: list[float]) -> str:
    return median_and_range([1000 * value for value in seconds], digits=0)


def _export_all(run: Path, folder: Path) -> tuple[list[Row], Places]:
    """Writes all exports; returns the first columns of the table, and where the exports are."""
    weights = run / "weights"
    weights = weights if weights.is_dir() else run / "model.weights.h5"  # of a preset
    rows: list[Row] = [{"format": "Keras float32", "mb": _megabytes(weights)}]
    places: Places = {"Keras float32": (run, run)}
    for entry in FORMATS:
        both = folder / entry.file
        refused = folder / f"{entry.file}.refused"
        alone = folder / f"alone.{entry.file}" if entry.computes_all else both
        try:
            card = _export(run, both, entry.write, refused)
            if alone != both:
                _export(run, alone, partial(entry.write, uncertainty=False), refused)
        except ParityError as error:
            write_text(refused, f"{error}\n")
            rows.append({"format": entry.name, "refused": str(error)})
            continue
        rows.append({"format": entry.name, "mb": _megabytes(both)})
        rows[-1] |= {"precision": card.precision, **card.parity}
        places[entry.name] = (alone, both)
    return rows, places


def _export(run: Path, path: Path, write: Callable[..., ModelCard], refused: Path) -> ModelCard:
    """Exports unless the export, or the note that it was refused, is newer than run and code.

    Raises:
        ParityError: if the export is refused, now or before.
    """
    code = Path(udl_tf.__file__).parent.rglob("*.py")
    changed = max(file.stat().st_mtime for file in (*run.glob("*.json"), *code))
    if refused.exists() and refused.stat().st_mtime > changed:
        raise ParityError(refused.read_text(encoding="utf-8").strip())
    if not path.exists() or path.stat().st_mtime < changed:
        write(run, path)
    exported = load_upscaler(path)
    assert isinstance(exported, ExportedUpscaler)
    return exported.card


def _time(place: Path, image: np.ndarray, theta: bool) -> float:
    """Returns the seconds of the second call of a model that was just loaded.

    Only one model is loaded at a time: all of them together need too much memory.
    """
    model = load_upscaler(place)
    model.upscale(image, uncertainty=theta)
    start = time.perf_counter()
    model.upscale(image, uncertainty=theta)
    return time.perf_counter() - start


def _megabytes(path: Path) -> float:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(file.stat().st_size for file in files) / 1e6


def _difference(row: Row) -> str:
    """Returns how far sr is from that of Keras, and theta, if the model has it."""
    if "bound" not in row:
        return ""
    if row["precision"] != "int8":
        return ", ".join(f"{row[key]:.1g}" for key in ("sr", "theta") if key in row)
    theta = f", {row['theta_median_relative']:.1%}" if "theta_median_relative" in row else ""
    return f"{row['psnr_loss']:.2f} dB{theta}"
