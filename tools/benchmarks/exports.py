"""What the formats of an export cost and give, beside one another and the network in Keras."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import median_and_spread
from udl_tf._support.files import write_text
from udl_tf.data.sources import Dataset
from udl_tf.data.store import read_pair
from udl_tf.export.onnx import export_onnx
from udl_tf.export.parity import TooFar
from udl_tf.export.savedmodel import export_savedmodel
from udl_tf.export.tflite import export_tflite
from udl_tf.metrics import psnr_y
from udl_tf.saved.bundle import MANIFEST, read_manifest
from udl_tf.saved.card import ModelCard
from udl_tf.saved.exported import ExportedUpscaler
from udl_tf.saved.loading import load

SIDE = 128  # LR pixels of the picture that is timed


@dataclass(frozen=True)
class Format:
    """A kind of export: its name, its file or folder's name, and what writes it.

    `apart`: whether a file with theta always computes it, so that for the picture alone one exports
    without.
    """

    name: str
    place: str
    write: Callable[..., ModelCard]
    apart: bool = True


def _savedmodel(run: Path | str, folder: Path | str) -> ModelCard:
    return export_savedmodel(run, folder, warmup=False)[1]


FORMATS = (
    Format("SavedModel", "savedmodel", _savedmodel, apart=False),
    Format("TFLite float32", "float32.tflite", export_tflite),
    Format("TFLite float16", "float16.tflite", partial(export_tflite, precision="float16")),
    Format("TFLite int8", "int8.tflite", partial(export_tflite, precision="int8")),
    Format("ONNX float32", "float32.onnx", export_onnx),
    Format("ONNX float16", "float16.onnx", partial(export_onnx, precision="float16")),
)


def run_exports(
    run: Path, folder: Path, dataset: Dataset, repeats: int = 5
) -> list[dict[str, Any]]:
    """Exports a trained model with theta in every format, and measures each.

    Args:
        run: run folder.
        folder: for the exports; those that are there, newer than the run, are taken as they are.
        dataset: whose PSNR-Y is measured, on pictures as `upscale` makes them.
        repeats: of the timed picture, the formats in turn.

    Returns:
        For Keras and each format: size in MB with theta; its own check beside Keras; PSNR-Y, dB;
        the seconds of all repeats for a picture of 128x128 LR pixels, alone and with theta. An
        export that its own check refused has "refused", its words, instead.
    """
    scale = read_manifest(run).architecture.scale
    rows: list[dict[str, Any]] = [{"format": "Keras float32", "mb": _size(run / "weights")}]
    places = {"Keras float32": (run, run)}  # without, with theta
    for entry in FORMATS:
        refused = folder / f"{entry.place}.refused"
        try:
            card = _exported(run, folder / entry.place, entry.write, refused)
        except TooFar as error:
            write_text(refused, f"{error}\n")
            rows.append({"format": entry.name, "refused": str(error)})
            continue
        rows.append({"format": entry.name, "mb": _size(folder / entry.place), **_checked(card)})
        alone = both = folder / entry.place
        if entry.apart:
            alone = folder / f"alone.{entry.place}"
            _exported(run, alone, partial(entry.write, uncertainty=False), refused)
        places[entry.name] = (alone, both)
    pairs = [read_pair(source, scale) for source in dataset.sources]
    source = pairs[0][0]
    source = np.pad(source, ((0, SIDE), (0, SIDE), (0, 0)), "symmetric")[:SIDE, :SIDE]
    present = [(row, places[row["format"]]) for row in rows if row["format"] in places]
    for row, (alone, _) in present:
        model = load(alone)
        made = [model.upscale(lr, uncertainty=False).image for lr, _ in pairs]
        values = [psnr_y(sr, hr, scale) for sr, (_, hr) in zip(made, pairs, strict=True)]
        row |= {"psnr_y": float(np.mean(values)), "seconds": [], "seconds_with_theta": []}
    for _ in range(repeats):
        for row, (alone, both) in present:
            row["seconds"].append(_timed(alone, source, theta=False))
            row["seconds_with_theta"].append(_timed(both, source, theta=True))
    return rows


def _timed(place: Path, source: np.ndarray, theta: bool) -> float:
    """Seconds for the picture, which has been upscaled once before by the model just opened.

    One model is open at a time: together, they need too much memory.
    """
    model = load(place)
    model.upscale(source, uncertainty=theta)
    start = time.perf_counter()
    model.upscale(source, uncertainty=theta)
    return time.perf_counter() - start


def _exported(run: Path, path: Path, write: Callable[..., ModelCard], refused: Path) -> ModelCard:
    """The card of an export; made unless it, or the note of its refusal, is newer than the run."""
    trained = (run / MANIFEST).stat().st_mtime
    if refused.exists() and refused.stat().st_mtime > trained:
        raise TooFar(refused.read_text(encoding="utf-8").strip())
    if not path.exists() or path.stat().st_mtime < trained:
        write(run, path)
    exported = load(path)
    assert isinstance(exported, ExportedUpscaler)
    return exported.card


def _size(path: Path) -> float:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(file.stat().st_size for file in files) / 1e6


def _checked(card: ModelCard) -> dict[str, Any]:
    return {"precision": card.precision, **card.parity}


def exports_table(rows: list[dict[str, Any]], dataset: str, scale: int) -> list[list[str]]:
    """The rows as cells of a Markdown table, the heads first."""
    size = f"{SIDE}² → {scale * SIDE}²"
    heads = [
        "format",
        "MB",
        "difference from Keras: sr, θ",
        f"PSNR-Y {dataset}",
        f"s, {size}",
        "with θ",
    ]
    cells = [heads]
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
                median_and_spread(row["seconds"]),
                median_and_spread(row["seconds_with_theta"]),
            ]
        )
    return cells


def _difference(row: dict[str, Any]) -> str:
    if "bound" not in row:
        return ""
    if row["precision"] == "int8":
        return f"{row['psnr_loss']:.2f} dB, {row['theta_median_relative']:.1%}"
    return f"{row['sr']:.1g}, {row['theta']:.1g}"
