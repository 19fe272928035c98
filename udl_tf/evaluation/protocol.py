"""Judges a trained model by the field's protocol, beside bicubic interpolation."""

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
from udl_tf.inference.upscaler import Upscaler
from udl_tf.metrics import SSIM_WINDOW, psnr_y, ssim_y


def evaluate(
    model: Upscaler,
    datasets: Sequence[Dataset],
    figures: Path | None = None,
    count: int = 2,
    beside: Mapping[str, Upscaler] | None = None,
    name: str = "SR",
) -> list[dict[str, Any]]:
    """PSNR-Y and SSIM-Y of a model and of bicubic interpolation.

    Args:
        model: what makes the pictures.
        datasets: what they are made of.
        figures: folder for figures, or None.
        count: figures a dataset.
        beside: other models of the same scale, by names for table and figures.
        name: of the model in figures.

    Returns:
        For each dataset {"dataset", "scale", "images", "psnr_y", "ssim_y", "bicubic_psnr_y",
        "bicubic_ssim_y", "per_image": [...]}; the numbers are means of the images' values. With
        `beside` also {"beside": {name: {"psnr_y", "ssim_y"}}}.

    Raises:
        UserError: for an unreadable image.
    """
    results = []
    for dataset in datasets:
        per_image = []
        for index, source in enumerate(dataset.sources):
            figure = figures / f"{dataset.name}_{source.hr.stem}.png" if figures else None
            shown = figure if index < count else None
            per_image.append(_judge(model, source, shown, beside or {}, name))
        means = {
            key: float(np.mean([image[key] for image in per_image]))
            for key in ("psnr_y", "ssim_y", "bicubic_psnr_y", "bicubic_ssim_y")
        }
        head = {"dataset": dataset.name, "scale": model.scale, "images": len(per_image)}
        others = {
            other: {
                key: float(np.mean([image["beside"][other][key] for image in per_image]))
                for key in ("psnr_y", "ssim_y")
            }
            for other in beside or {}
        }
        extra = {"beside": others} if others else {}
        results.append({**head, **means, **extra, "per_image": per_image})
    return results


def check_size(source: ImageSource, scale: int) -> None:
    """Looks at a file's header only.

    Raises:
        UserError: if it is no image, or too small to be judged.
    """
    height, width = source.size
    smallest = SSIM_WINDOW + 2 * scale
    if min(height - height % scale, width - width % scale) < smallest:
        raise UserError(
            f"{source.hr}: {width}x{height} pixels; to be judged at x{scale} it needs {smallest}"
            " a side: remove it"
        )


def _judge(
    model: Upscaler,
    source: ImageSource,
    figure: Path | None,
    beside: Mapping[str, Upscaler],
    name: str,
) -> dict[str, Any]:
    check_size(source, model.scale)
    lr, hr = read_pair(source, model.scale)
    raw, theta = model.predict(lr)
    sr, bicubic = to_dtype(raw, np.uint8), imresize(lr, model.scale)
    values = {
        "image": source.hr.name,
        "psnr_y": psnr_y(sr, hr, model.scale),
        "ssim_y": ssim_y(sr, hr, model.scale),
        "bicubic_psnr_y": psnr_y(bicubic, hr, model.scale),
        "bicubic_ssim_y": ssim_y(bicubic, hr, model.scale),
    }
    others = {name: to_dtype(other.predict(lr)[0], np.uint8) for name, other in beside.items()}
    if others:
        values["beside"] = {
            name: {"psnr_y": psnr_y(o, hr, model.scale), "ssim_y": ssim_y(o, hr, model.scale)}
            for name, o in others.items()
        }
    if figure is not None:
        comparison_figure(
            figure,
            f"{source.hr.name} ×{model.scale}",
            {
                f"bicubic {values['bicubic_psnr_y']:.2f} dB": bicubic,
                **{f"{n} {values['beside'][n]['psnr_y']:.2f} dB": o for n, o in others.items()},
                f"{name} {values['psnr_y']:.2f} dB": sr,
                "HR": hr,
            },
            np.abs(hr.astype(np.float32) - np.clip(raw, 0, 255)),
            theta,
            name,
        )
    return values


def results_table(results: Sequence[dict[str, Any]], name: str) -> str:
    """The results as a Markdown table: bicubic first, other models, the model itself."""
    heads = [f"{r['dataset']} ×{r['scale']} ({r['images']})" for r in results]
    rows = [["PSNR-Y dB / SSIM-Y", *heads]]
    rows.append(["bicubic", *(_cell(r["bicubic_psnr_y"], r["bicubic_ssim_y"]) for r in results)])
    for other in results[0].get("beside", {}):
        found = [r["beside"][other] for r in results]
        rows.append([other, *(_cell(f["psnr_y"], f["ssim_y"]) for f in found)])
    rows.append([name, *(_cell(r["psnr_y"], r["ssim_y"]) for r in results)])
    return markdown_table(rows)


def _cell(psnr: float, ssim: float) -> str:
    return f"{psnr:.3f} / {ssim:.4f}" if math.isfinite(psnr) else f"∞ / {ssim:.4f}"
