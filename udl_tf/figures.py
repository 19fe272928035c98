"""Pictures for people: uncertainty in colour, SR beside HR, the error beside theta."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from udl_tf.files import complete_file

_COLORS = "magma"


def colorize(values: np.ndarray, top: float | None = None) -> np.ndarray:
    """A map of non-negative values as uint8 RGB: black is 0, pale yellow is `top` or more.

    Args:
        values: (h, w); or (h, w, c), of which the mean over channels is shown.
        top: the brightest value; None: the 99.5th percentile of the map.
    """
    values = _gray(values)
    top = highest(values) if top is None else top
    shares = np.clip(values / max(top, 1e-6), 0.0, 1.0)
    return (matplotlib.colormaps[_COLORS](shares)[..., :3] * 255 + 0.5).astype(np.uint8)


def highest(values: np.ndarray) -> float:
    """Where a map's colours end: the 99.5th percentile of its mean over channels."""
    return float(np.percentile(_gray(values), 99.5))


def comparison_figure(
    path: Path,
    title: str,
    pictures: dict[str, np.ndarray],
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
    box = _busiest_box(next(reversed(pictures.values())))
    cell = 4.2
    row = cell * height / width
    figure = Figure(
        figsize=(cell * len(pictures), 2 * row + cell * 0.75 + 1.0), layout="constrained"
    )
    figure.suptitle(title)
    heights = [row + cell * 0.75, row]
    upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=heights)[:, 0]
    axes = upper.subplots(2, len(pictures), height_ratios=[row, cell * 0.75])
    top, left, side = box
    for column, (label, picture) in enumerate(pictures.items()):
        whole, crop = axes[0, column], axes[1, column]
        whole.imshow(picture, interpolation="none")
        outline = Rectangle((left, top), side, side, fill=False, color="yellow")
        whole.add_patch(outline)
        whole.set_title(label)
        crop.imshow(picture[top : top + side, left : left + side], interpolation="nearest")
        for axis in (whole, crop):
            axis.set_axis_off()
    map_axes = lower.subplots(1, len(maps), squeeze=False)[0]
    for axis, (label, values) in zip(map_axes, maps.items(), strict=True):
        image = axis.imshow(
            _gray(values), cmap=_COLORS, vmin=0, vmax=highest(values), interpolation="none"
        )
        axis.set_title(label)
        axis.set_axis_off()
        lower.colorbar(image, ax=axis, shrink=0.9)
    with complete_file(path) as temporary:
        figure.savefig(temporary, dpi=100)


def _gray(values: np.ndarray) -> np.ndarray:
    return values.mean(axis=-1) if values.ndim == 3 else values


def _busiest_box(picture: np.ndarray) -> tuple[int, int, int]:
    """(top, left, side) of the square, a quarter of the shorter side, with the most detail."""
    gray = _gray(picture.astype(np.float64))
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
