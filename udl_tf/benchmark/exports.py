"""What the formats of an export cost and give, beside one another and the network in Keras."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from udl_tf.benchmark.machine import median_and_spread
from udl_tf.bundle import MANIFEST
from udl_tf.bundle import load as load_run
from udl_tf.data.sources import Dataset
from udl_tf.data.store import read_pair
from udl_tf.errors import UserError
from udl_tf.export.onnx import export_onnx
from udl_tf.export.savedmodel import export_savedmodel
from udl_tf.export.tflite import export_tflite
from udl_tf.files import write_text
from udl_tf.loading import load
from udl_tf.metrics import psnr_y
from udl_tf.model_card import ModelCard
from udl_tf.runtimes import ExportedModel
from udl_tf.upscaler import Upscaler

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
    keras = load_run(run)
    rows: list[dict[str, Any]] = [{"format": "Keras float32", "mb": _size(run / "weights")}]
    models: list[tuple[Upscaler, Upscaler] | None] = [(keras, keras)]  # without, with theta
    for entry in FORMATS:
        refused = folder / f"{entry.place}.refused"
        try:
            both = alone = _exported(run, folder / entry.place, entry.write, refused)
        except UserError as error:
            write_text(refused, f"{error}\n")
            rows.append({"format": entry.name, "refused": str(error)})
            models.append(None)
            continue
        rows.append(
            {"format": entry.name, "mb": _size(folder / entry.place), **_checked(both.card)}
        )
        if entry.apart:
            write = partial(entry.write, uncertainty=False)
            alone = _exported(run, folder / f"alone.{entry.place}", write, refused)
        models.append((alone, both))
    pairs = [read_pair(picture, keras.scale) for picture in dataset.pictures]
    picture = pairs[0][0]
    picture = np.pad(picture, ((0, SIDE), (0, SIDE), (0, 0)), "symmetric")[:SIDE, :SIDE]
    present = [(row, pair) for row, pair in zip(rows, models, strict=True) if pair is not None]
    for row, (alone, both) in present:
        made = [alone.upscale(lr, uncertainty=False).image for lr, _ in pairs]
        values = [psnr_y(sr, hr, keras.scale) for sr, (_, hr) in zip(made, pairs, strict=True)]
        row |= {"psnr_y": float(np.mean(values)), "seconds": [], "seconds_with_theta": []}
        both.upscale(picture)  # once before the clock
    for _ in range(repeats):
        for row, (alone, both) in present:
            for key, model, theta in (
                ("seconds", alone, False),
                ("seconds_with_theta", both, True),
            ):
                start = time.perf_counter()
                model.upscale(picture, uncertainty=theta)
                row[key].append(time.perf_counter() - start)
    return rows


def _exported(
    run: Path, path: Path, write: Callable[..., ModelCard], refused: Path
) -> ExportedModel:
    """The export at a path; made unless it, or the note of its refusal, is newer than the run."""
    trained = (run / MANIFEST).stat().st_mtime
    if refused.exists() and refused.stat().st_mtime > trained:
        raise UserError(refused.read_text(encoding="utf-8").strip())
    if not path.exists() or path.stat().st_mtime < trained:
        write(run, path)
    exported = load(path)
    assert isinstance(exported, ExportedModel)
    return exported


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
