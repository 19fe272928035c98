"""Figures: a test image with its error and theta, and the quality of a calibration."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from udl_tf._support.files import complete_file
from udl_tf.evaluation.theta_text import psnr_name, unit_name
from udl_tf.imaging.theta_map import COLORS, MAP_TOP, channel_mean
from udl_tf.uncertainty import FRACTIONS

_CELL = 4.2  # inches: width of one image
_CROP = 0.75 * _CELL  # inches: height of the row of crops


def comparison_figure(
    path: Path,
    title: str,
    images: dict[str, np.ndarray],
    error: np.ndarray,
    theta: np.ndarray | None,
    name: str,
    level: str = "grey levels",
    top: float = MAP_TOP,
) -> None:
    """Writes the figure of one test image.

    First row: the whole images; second row: a magnified crop of each; last row: absolute error and
    theta, with the colours of maps of theta.

    Args:
        path: PNG file to write.
        title: one line above.
        images: label -> uint8 RGB, all of one size, such as bicubic, SR and HR.
        error: of the model, |HR - SR|, (h, w, c) in the network's 0..255; NaN for nodata.
        theta: of the model, (h, w, c) in the same unit, or None.
        name: of the model.
        level: name of that unit.
        top: error and theta in the brightest colour.
    """
    height, width = error.shape[:2]
    maps = {f"|HR − {name}|, {level}": error}
    if theta is not None:
        maps[f"θ of {name}, {level}"] = theta
    row = _CELL * height / width
    figure = Figure(figsize=(_CELL * len(images), 2 * row + _CROP + 1.0), layout="constrained")
    figure.suptitle(title)
    heights = [row + _CROP, row]
    upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=heights)[:, 0]
    _draw_images(upper.subplots(2, len(images), height_ratios=[row, _CROP]), images)
    _draw_maps(lower, maps, top)
    with complete_file(path) as temporary:
        figure.savefig(temporary, dpi=100)


def _draw_images(axes: np.ndarray, images: dict[str, np.ndarray]) -> None:
    """Draws each image with an outline, and below it what is inside the outline."""
    top, left, side = _busiest_box(next(reversed(images.values())))
    for column, (label, image) in enumerate(images.items()):
        whole, crop = axes[0, column], axes[1, column]
        whole.imshow(image, interpolation="none")
        whole.add_patch(Rectangle((left, top), side, side, fill=False, color="yellow"))
        whole.set_title(label)
        crop.imshow(image[top : top + side, left : left + side], interpolation="nearest")
        for axis in (whole, crop):
            axis.set_axis_off()


def _draw_maps(figure: Any, maps: dict[str, np.ndarray], top: float) -> None:
    """Draws the mean of each map over its channels, with a colour bar; all on one scale."""
    axes = figure.subplots(1, len(maps), squeeze=False)[0]
    for axis, (label, values) in zip(axes, maps.items(), strict=True):
        image = axis.imshow(
            channel_mean(values), cmap=COLORS, vmin=0, vmax=top, interpolation="none"
        )
        axis.set_title(label)
        axis.set_axis_off()
        figure.colorbar(image, ax=axis, shrink=0.9, extend="max")


def _busiest_box(image: np.ndarray) -> tuple[int, int, int]:
    """Returns (top, left, side) of the square with the most detail.

    Its side is a quarter of the image's shorter side, but at least 8 pixels.
    """
    gray = channel_mean(image.astype(np.float64))
    detail = np.hypot(*np.gradient(gray))
    side = max(8, min(gray.shape) // 4)
    stride = max(1, side // 4)
    boxes = [
        (detail[top : top + side, left : left + side].mean(), top, left)
        for top in range(0, max(1, gray.shape[0] - side), stride)
        for left in range(0, max(1, gray.shape[1] - side), stride)
    ]
    _, top, left = max(boxes)
    return top, left, side


def calibration_figure(path: Path, title: str, result: dict[str, Any]) -> None:
    """Writes the figure of a calibration: reliability, coverage, sparsification, predicted PSNR.

    Args:
        path: PNG file to write.
        title: one line above.
        result: what udl_tf.evaluation.assess returned.
    """
    figure = Figure(figsize=(11, 9.5), layout="constrained")
    figure.suptitle(title)
    panels = (_draw_reliability, _draw_coverage, _draw_sparsification, _draw_psnrs)
    for axes, draw in zip(figure.subplots(2, 2).flat, panels, strict=True):
        draw(axes, result)
        axes.legend(framealpha=0.6)
        axes.grid(alpha=0.3)
    with complete_file(path) as temporary:
        figure.savefig(temporary, dpi=80)


def _draw_reliability(axes: Any, result: dict[str, Any]) -> None:
    theta, error = np.array(result["reliability"])[:, :2].T
    axes.loglog(theta, error, "o-", label="measured")
    axes.loglog(theta, theta, "k:", label="ideal")
    xlabel = f"mean θ' of a bin, {unit_name(result)}"
    axes.set(xlabel=xlabel, ylabel="mean |HR − SR|", title="Reliability")


def _draw_coverage(axes: Any, result: dict[str, Any]) -> None:
    coverage = result["coverage"]
    levels = 100 * np.array(coverage["levels"])
    for label, key in (("Laplace intervals", "laplace"), ("measured intervals", "measured")):
        axes.plot(levels, 100 * np.array(coverage[key]), label=label)
    axes.plot([0, 100], [0, 100], "k:", label="ideal")
    axes.set(xlabel="nominal level, %", ylabel="values inside, %", title="Coverage")


def _draw_sparsification(axes: Any, result: dict[str, Any]) -> None:
    removed = 100 * FRACTIONS
    for label, ranking in result["ranking"].items():
        style = "--" if label == "perfect Laplace" else "-"
        name = f"{label} (AUSE {ranking['ause']:.3f})"
        axes.plot(removed, ranking["sparsification"], style, label=name)
    axes.plot(removed, result["oracle"], "k-", label="oracle")
    axes.axhline(1, color="k", linestyle=":", label="random order")
    axes.set(xlabel="most uncertain values removed, %", ylabel="mean |HR − SR| of the rest")
    axes.set_title("Sparsification (1: mean of all values)")


def _draw_psnrs(axes: Any, result: dict[str, Any]) -> None:
    actual = [image["psnr"] for image in result["per_image"]]
    predicted = [image["expected_psnr"] for image in result["per_image"]]
    ends = [min(actual + predicted), max(actual + predicted)]
    axes.plot(predicted, actual, "o", label="images")
    axes.plot(ends, ends, "k:", label="ideal")
    name = psnr_name(result)
    axes.set(xlabel=f"{name} predicted from θ', dB", ylabel=f"{name}, dB")
    axes.set_title("Predicted PSNR")
