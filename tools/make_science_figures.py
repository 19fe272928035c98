"""Draws the figures of docs/science.md from the data and runs of its guides.

python tools/make_science_figures.py FOLDER [--output docs]

FOLDER holds `data` and `runs` of all three guides. Each figure is a part of the scene: its input
upscaled by bicubic interpolation, the result, theta, and the truth.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

import udl_tf
from udl_tf._support import command_line
from udl_tf.imaging.nodata import FILL_DISTANCE, fill_nodata
from udl_tf.imaging.resize import imresize
from udl_tf.imaging.theta_map import channel_mean, colorize
from udl_tf.imaging.titled_row import titled_row
from udl_tf.scenes import Window, open_scene

DOCS = Path(__file__).parents[1] / "docs"
_SIDE = 112  # HR pixels of a part
_ZOOM = 2


class Figure(NamedTuple):
    """How a guide is shown.

    Attributes:
        suffix: of its files.
        corner: row and column of the part, HR pixels.
        shown: values that are black and white; None: shaded as a relief.
        top: theta in the brightest colour, in `unit`.
        unit: name of the unit.
    """

    suffix: str
    corner: tuple[int, int]
    shown: tuple[float, float] | None
    top: float
    unit: str


FIGURES = {
    "satellite": Figure(".tif", (640, 300), (200, 2600), 200, "/ 10000"),
    "microscopy": Figure(".ome.tif", (400, 400), (100, 7000), 600, "counts"),
    "elevation": Figure(".npy", (115, 215), None, 0.5, "m"),
}


def main(arguments: list[str] | None = None) -> None:
    parser = command_line.make_parser("python tools/make_science_figures.py", __doc__)
    parser.add_argument("folder", type=Path, help="folder with data and runs")
    parser.add_argument("--output", type=Path, default=DOCS, help="default: docs")
    options = parser.parse_args(arguments)
    for kind, figure in FIGURES.items():
        path = options.output / f"science_{kind}.webp"
        Image.fromarray(draw(options.folder, kind, figure)).save(path, quality=80)
        print(f"written: {path} ({path.stat().st_size / 1000:.0f} kB)")


def draw(folder: Path, kind: str, figure: Figure) -> np.ndarray:
    """Returns the figure of a guide, uint8 RGB."""
    data = folder / "data" / kind
    scene, valid = _read(data / f"scene{figure.suffix}")
    truth, _ = _read(data / f"truth{figure.suffix}")
    result = udl_tf.load(str(folder / f"runs/science/{kind}_x2")).upscale(scene, valid=valid)
    lr = fill_nodata(scene.astype(np.float32), valid, FILL_DISTANCE)
    bicubic = imresize(lr, size=truth.shape[:2])
    top, left = figure.corner
    part = slice(top, top + _SIDE), slice(left, left + _SIDE)
    assert result.theta is not None
    assert result.flags is not None
    theta = colorize(np.nan_to_num(channel_mean(result.theta[part])), figure.top)
    hidden = result.flags[part] == 2
    images = {
        "bicubic": _shown(bicubic[part], hidden, figure),
        "result": _shown(result.image[part], hidden, figure),
        f"theta, 0 to {figure.top:g} {figure.unit}": theta,
        "truth": _shown(truth[part], np.zeros_like(hidden), figure),
    }
    return titled_row({title: _enlarged(image) for title, image in images.items()}, 13)


def _enlarged(image: np.ndarray) -> np.ndarray:
    """Returns an image with larger pixels and a white margin."""
    large = image.repeat(_ZOOM, axis=0).repeat(_ZOOM, axis=1)
    return np.pad(large, ((0, 4), (4, 4), (0, 0)), constant_values=255)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Returns (values, valid) of the first plane of a file."""
    with open_scene(path) as scene:
        return scene.read(Window(0, 0, 0, scene.height, scene.width))


def _shown(values: np.ndarray, hidden: np.ndarray, figure: Figure) -> np.ndarray:
    """Returns values as uint8 RGB, white where they are hidden."""
    values = values.astype(np.float32)
    if figure.shown is None:
        slopes = np.gradient(fill_nodata(values, np.isfinite(values), FILL_DISTANCE)[..., 0])
        grey = 128 + 25 * (slopes[0] + slopes[1])[..., None]
    else:
        low, high = figure.shown
        bands = values[..., [2, 1, 0]] if values.shape[-1] == 4 else values
        grey = 255 * (bands - low) / (high - low)
    image = np.clip(np.broadcast_to(grey, (*grey.shape[:2], 3)), 0, 255).astype(np.uint8)
    return np.where(hidden[..., None], np.uint8(255), image)


if __name__ == "__main__":
    command_line.run(main)
