"""Pictures for people: uncertainty in colour, SR beside HR, the error beside theta."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from udl_tf._support.files import complete_file
from udl_tf.imaging.theta_map import COLORS, channel_mean, highest


def comparison_figure(
    path: Path,
    title: str,
    images: dict[str, np.ndarray],
    error: np.ndarray,
    theta: np.ndarray | None,
    name: str,
) -> None:
    """Writes the figure of one test image.

    Above: the whole pictures, each with a zoomed crop below it. Last row: absolute error and theta,
    each with its own colour bar.

    Args:
        path: PNG file to write.
        title: one line above.
        pictures: label -> uint8 RGB, all of one size, such as bicubic, SR and HR.
        error: of the model, |HR - SR|, (h, w, 3) in grey levels.
        theta: of the model, (h, w, 3) in grey levels, or None.
        name: of the model.
    """
    height, width = error.shape[:2]
    maps = {f"|HR − {name}|, grey levels": error}
    if theta is not None:
        maps[f"θ of {name}, grey levels"] = theta
    box = _busiest_box(next(reversed(images.values())))
    cell = 4.2
    row = cell * height / width
    figure = Figure(figsize=(cell * len(images), 2 * row + cell * 0.75 + 1.0), layout="constrained")
    figure.suptitle(title)
    heights = [row + cell * 0.75, row]
    upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=heights)[:, 0]
    axes = upper.subplots(2, len(images), height_ratios=[row, cell * 0.75])
    top, left, side = box
    for column, (label, image) in enumerate(images.items()):
        whole, crop = axes[0, column], axes[1, column]
        whole.imshow(image, interpolation="none")
        outline = Rectangle((left, top), side, side, fill=False, color="yellow")
        whole.add_patch(outline)
        whole.set_title(label)
        crop.imshow(image[top : top + side, left : left + side], interpolation="nearest")
        for axis in (whole, crop):
            axis.set_axis_off()
    map_axes = lower.subplots(1, len(maps), squeeze=False)[0]
    for axis, (label, values) in zip(map_axes, maps.items(), strict=True):
        image = axis.imshow(
            channel_mean(values), cmap=COLORS, vmin=0, vmax=highest(values), interpolation="none"
        )
        axis.set_title(label)
        axis.set_axis_off()
        lower.colorbar(image, ax=axis, shrink=0.9)
    with complete_file(path) as temporary:
        figure.savefig(temporary, dpi=100)


def _busiest_box(image: np.ndarray) -> tuple[int, int, int]:
    """(top, left, side) of the square, a quarter of the shorter side, with the most detail."""
    gray = channel_mean(image.astype(np.float64))
    detail = np.hypot(*np.gradient(gray))
    side = max(8, min(gray.shape) // 4)
    step = max(1, side // 4)
    boxes = [
        (detail[top : top + side, left : left + side].mean(), top, left)
        for top in range(0, max(1, gray.shape[0] - side), step)
        for left in range(0, max(1, gray.shape[1] - side), step)
    ]
    _, top, left = max(boxes)
    return top, left, side
