"""Evaluation on test sets by the field's protocol, with bicubic interpolation for comparison."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from udl_tf._support.tables import markdown_table
from udl_tf.data.sources import Dataset, ImageSource
from udl_tf.data.store import read_pair
from udl_tf.errors import UserError
from udl_tf.evaluation.figures import comparison_figure
from udl_tf.imaging.dtypes import to_dtype
from udl_tf.imaging.resize import imresize
from udl_tf.inference.upscaler import Upscaler, upscaler_of
from udl_tf.metrics import SSIM_WINDOW, psnr_y, ssim_y

_METRICS = ("psnr_y", "ssim_y")


def evaluate(
    model: Upscaler,
    datasets: Sequence[Dataset],
    figures: Path | None = None,
    count: int = 2,
    beside: Mapping[str, Upscaler] | None = None,
    name: str = "SR",
) -> list[dict[str, Any]]:
    """Computes PSNR-Y and SSIM-Y of a model and of bicubic interpolation.

    Args:
        model: the model to evaluate; an Upscaler or an SRModel.
        datasets: the test sets.
        figures: folder for figures, or None.
        count: figures per dataset.
        beside: other models of the same scale, by their names in table and figures.
        name: of the model in figures.

    Returns:
        For each dataset {"dataset", "scale", "images", "psnr_y", "ssim_y", "bicubic_psnr_y",
        "bicubic_ssim_y", "per_image": [...]}; the numbers are means of the images' values. With
        `beside` also {"beside": {name: {"psnr_y", "ssim_y"}}}; for crops also {"crop": side}, for
        degraded LR images {"degrade": their degradations}.

    Raises:
        UserError: for an image that is unreadable or too small.
    """
    model, results = upscaler_of(model), []
    compared = {other: upscaler_of(found) for other, found in (beside or {}).items()}
    for dataset in datasets:
        per_image = []
        for index, source in enumerate(dataset.sources):
            figure = figures / f"{dataset.name}_{source.hr.stem}.png" if figures else None
            drawn = figure if index < count else None
            per_image.append(_evaluate_image(model, source, drawn, compared, name))
        head = {"dataset": dataset.name, "scale": model.scale, "images": len(per_image)}
        means = _means(per_image, (*_METRICS, *(f"bicubic_{metric}" for metric in _METRICS)))
        others = {
            other: _means([image["beside"][other] for image in per_image], _METRICS)
            for other in beside or {}
        }
        extra = {"beside": others} if others else {}
        extra |= {"crop": dataset.crop} if dataset.crop else {}
        extra |= {"degrade": dataset.degrade} if dataset.degrade else {}
        results.append({**head, **means, **extra, "per_image": per_image})
    return results


def _means(rows: Sequence[Mapping[str, float]], keys: Sequence[str]) -> dict[str, float]:
    return {key: float(np.mean([row[key] for row in rows])) for key in keys}


def check_size(source: ImageSource, scale: int) -> None:
    """Checks from the file's header that an image is large enough to be evaluated.

    Raises:
        UserError: if it is too small, or not an image.
    """
    height, width = source.size
    smallest = SSIM_WINDOW + 2 * scale  # the protocol shaves `scale` pixels on every side
    if min(height - height % scale, width - width % scale) < smallest:
        raise UserError(
            f"{source.hr}: {width}x{height} pixels; evaluation at x{scale} needs at least"
            f" {smallest} pixels per side: remove it"
        )


def _evaluate_image(
    model: Upscaler,
    source: ImageSource,
    figure: Path | None,
    beside: Mapping[str, Upscaler],
    name: str,
) -> dict[str, Any]:
    """Returns the metrics of one image, and writes its figure if a path is given."""
    check_size(source, model.scale)
    lr, hr = read_pair(source, model.scale)
    raw, theta = model.predict(lr)
    bicubic, sr = imresize(lr, model.scale), to_dtype(raw, np.uint8)
    others = {other: to_dtype(m.predict(lr)[0], np.uint8) for other, m in beside.items()}
    values: dict[str, Any] = {"image": source.hr.name, **_metrics(sr, hr, model.scale)}
    of_bicubic = _metrics(bicubic, hr, model.scale)
    values |= {f"bicubic_{metric}": value for metric, value in of_bicubic.items()}
    if others:
        values["beside"] = {n: _metrics(image, hr, model.scale) for n, image in others.items()}
    if figure is not None:
        columns = [("bicubic", of_bicubic, bicubic)]
        columns += [(other, values["beside"][other], image) for other, image in others.items()]
        columns.append((name, values, sr))
        images = {f"{label} {m['psnr_y']:.2f} dB": image for label, m, image in columns}
        images["HR"] = hr
        error = np.abs(hr.astype(np.float32) - np.clip(raw, 0, 255))
        title = f"{source.hr.name} ×{model.scale}"
        title += f", LR degraded by {source.degrade.text}" if source.degrade else ""
        comparison_figure(figure, title, images, error, theta, name)
    return values


def _metrics(image: np.ndarray, hr: np.ndarray, scale: int) -> dict[str, float]:
    return {"psnr_y": psnr_y(image, hr, scale), "ssim_y": ssim_y(image, hr, scale)}


def totals(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns results without those of single images."""
    return [{k: v for k, v in result.items() if k != "per_image"} for result in results]


def results_table(results: Sequence[dict[str, Any]], name: str) -> str:
    """Returns the results as a Markdown table: bicubic first, other models, the model itself.

    Its title states the degradations of the LR images, and a line below it if only central squares
    of the images were evaluated.

    Args:
        results: what `evaluate` returned.
        name: of the model.
    """
    heads = [f"{r['dataset']} ×{r['scale']} ({r['images']})" for r in results]
    degrade = results[0].get("degrade")
    title = f"PSNR-Y dB / SSIM-Y, LR degraded by {degrade}" if degrade else "PSNR-Y dB / SSIM-Y"
    rows = [[title, *heads]]
    rows.append(["bicubic", *(_cell(r["bicubic_psnr_y"], r["bicubic_ssim_y"]) for r in results)])
    for other in results[0].get("beside", {}):
        values = [r["beside"][other] for r in results]
        rows.append([other, *(_cell(v["psnr_y"], v["ssim_y"]) for v in values)])
    rows.append([name, *(_cell(r["psnr_y"], r["ssim_y"]) for r in results)])
    crop = results[0].get("crop")
    note = (
        f"\nOnly the central {crop}x{crop} pixels of each image: not comparable with published"
        " results.\n"
    )
    return markdown_table(rows) + (note if crop else "")


def _cell(psnr: float, ssim: float) -> str:
    return f"{psnr:.3f} / {ssim:.4f}" if math.isfinite(psnr) else f"∞ / {ssim:.4f}"
