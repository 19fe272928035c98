"""Evaluation on test sets by the field's protocol, with bicubic interpolation for comparison."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from udl_tf._support.files import fitting_name
from udl_tf._support.tables import markdown_table
from udl_tf.data.image_source import ImageSource
from udl_tf.data.sources import Dataset
from udl_tf.data.store import read_pair
from udl_tf.errors import UserError
from udl_tf.evaluation.figures import comparison_figure
from udl_tf.evaluation.image_metrics import image_metrics, mean_metrics
from udl_tf.imaging.resize import imresize
from udl_tf.imaging.theta_map import MAP_TOP
from udl_tf.inference.upscaler import Upscaler, upscaler_of
from udl_tf.metrics import SSIM_WINDOW, TITLES


def evaluate(
    model: Upscaler,
    datasets: Sequence[Dataset],
    figures: Path | None = None,
    count: int = 2,
    beside: Mapping[str, Upscaler] | None = None,
    name: str = "SR",
    bands: Sequence[int] = (1, 2, 3),
    consistent: bool = False,
    self_ensemble: bool = False,
) -> list[dict[str, Any]]:
    """Computes the metrics of a model and of bicubic interpolation.

    Args:
        model: the model to evaluate; an Upscaler or an SRModel.
        datasets: the test sets.
        figures: folder for figures, or None.
        count: figures per dataset.
        beside: other models of the same scale, by their names in table and figures.
        name: of the model in figures.
        bands: channels, from 1, that figures show as red, green and blue if there are more than
            three.
        consistent: whether the results of all models are back-projected, as in `upscale`.
        self_ensemble: whether those of all models are means over flips and rotations, likewise.

    Returns:
        For each dataset {"dataset", "scale", "images", "psnr_y", "ssim_y", "bicubic_psnr_y",
        "bicubic_ssim_y", "per_image": [...]}, or the other metrics of image_metrics for
        measurements; the numbers are means of the images' values. With
        `beside` also {"beside": {name: {"psnr_y", "ssim_y"}}}; for crops also {"crop": side}, for
        degraded LR images {"degrade": their degradations}, and {"consistent": True} and
        {"self_ensemble": True} for the results of these options.

    Raises:
        UserError: for an image that is unreadable or too small.
    """
    model, results = upscaler_of(model), []
    ways = {"consistent": consistent, "self_ensemble": self_ensemble}
    compared = {other: upscaler_of(found) for other, found in (beside or {}).items()}
    for dataset in datasets:
        per_image = []
        for index, source in enumerate(dataset.sources):
            figure = fitting_name(f"{dataset.name}_{source.stem}", ".png")
            drawn = figures / figure if figures and index < count else None
            per_image.append(_evaluate_image(model, source, drawn, compared, name, bands, ways))
        head = {"dataset": dataset.name, "scale": model.scale, "images": len(per_image)}
        means = mean_metrics(per_image) | mean_metrics(per_image, "bicubic_")
        others = {
            other: mean_metrics([image["beside"][other] for image in per_image])
            for other in beside or {}
        }
        extra = {"beside": others} if others else {}
        extra |= {"crop": dataset.crop} if dataset.crop else {}
        extra |= {"degrade": dataset.degrade} if dataset.degrade else {}
        extra |= {way: True for way, used in ways.items() if used}
        results.append({**head, **means, **extra, "per_image": per_image})
    return results


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
    bands: Sequence[int],
    ways: Mapping[str, bool],
) -> dict[str, Any]:
    """Returns the metrics of one image, and writes its figure if a path is given.

    Args:
        model, beside, name, bands: as for evaluate.
        source: the image.
        figure: where to write; None: no figure.
        ways: of computing results, as arguments of `Upscaler.predict`.
    """
    check_size(source, model.scale)
    lr, hr = read_pair(source, model.scale)
    raw, theta = model.predict(lr, **ways)
    pixels, scale = source.pixels, model.scale
    columns = [("bicubic", imresize(lr, scale))]
    for other, compared in beside.items():
        columns.append((other, pixels.rounded(compared.predict(lr, **ways)[0])))
    columns.append((name, pixels.rounded(raw)))
    metrics = [image_metrics(image, hr, scale, pixels) for _, image in columns]
    values: dict[str, Any] = {"image": source.title, **metrics[-1]}
    values |= {f"bicubic_{metric}": value for metric, value in metrics[0].items()}
    if beside:
        values["beside"] = dict(zip(beside, metrics[1:], strict=False))
    if figure is not None:
        main = next(iter(metrics[0]))
        images = {
            f"{label} {found[main]:.2f} dB": pixels.as_rgb(image, bands)
            for (label, image), found in zip(columns, metrics, strict=True)
        }
        images["HR"] = pixels.as_rgb(hr, bands)
        error = np.abs(hr.astype(np.float32) - (raw if pixels.measured else np.clip(raw, 0, 255)))
        title = f"{source.title} ×{scale}"
        title += f", LR degraded by {source.degrade.text}" if source.degrade else ""
        # Photographs share one scale; errors of measurements may be of any size.
        top = float(np.nanquantile(error, 0.99)) if pixels.measured else MAP_TOP
        comparison_figure(figure, title, images, error, theta, name, pixels.level, top)
    return values


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
    known = [metric for metric in TITLES if metric in results[0]]
    title = " / ".join(f"{TITLES[metric][0]} {TITLES[metric][1]}".rstrip() for metric in known)
    degrade = results[0].get("degrade")
    rows = [[f"{title}, LR degraded by {degrade}" if degrade else title, *heads]]
    rows.append(["bicubic", *(_cell([r[f"bicubic_{m}"] for m in known], known) for r in results)])
    for other in results[0].get("beside", {}):
        values = [[r["beside"][other][m] for m in known] for r in results]
        rows.append([other, *(_cell(row, known) for row in values)])
    rows.append([name, *(_cell([r[m] for m in known], known) for r in results)])
    crop = results[0].get("crop")
    note = (
        f"\nOnly the central {crop}x{crop} pixels of each image: not comparable with published"
        " results.\n"
    )
    return markdown_table(rows) + (note if crop else "")


def _cell(values: Sequence[float], metrics: Sequence[str]) -> str:
    """Returns the values of metrics in one cell; a metric without a value, of nodata only, is –."""
    marks = {True: "∞", False: "–"}
    return " / ".join(
        f"{value:.{TITLES[metric][2]}f}" if math.isfinite(value) else marks[math.isinf(value)]
        for value, metric in zip(values, metrics, strict=True)
    )
