"""Makes the images of docs/gallery.md from the test images of the package, and prints its tables.

python tools/make_gallery.py [--output docs/gallery]
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

import udl_tf
from udl_tf._support import command_line
from udl_tf._support.tables import markdown_table
from udl_tf.data import bundled_dataset
from udl_tf.imaging import degrade, imresize, mod_crop, read_rgb, write_rgb
from udl_tf.imaging.theta_map import colorize
from udl_tf.inference import Upscaler
from udl_tf.metrics import psnr_y

SIDE = 120  # of a crop, HR pixels
CROPS = {"camera": (40, 76), "chelsea": (60, 120), "rocket": (60, 60)}  # top, left, HR pixels
CLEAN, PHOTO = ("light_x2", "light_x3", "light_x4"), ("light_x4", "photo_x4")
QUALITIES = (75, 40)  # of JPEG


def main(arguments: list[str] | None = None) -> None:
    parser = command_line.make_parser("python tools/make_gallery.py", __doc__)
    parser.add_argument("--output", type=Path, default=Path("docs/gallery"), help="folder")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    models = {name: udl_tf.load(name) for name in {*CLEAN, *PHOTO}}
    images = [source.hr for source in bundled_dataset("test").sources]
    for image in images:
        rows = (clean_row(image, name, models[name], options.output) for name in CLEAN)
        print(f"## {image.stem}\n\n{table(rows)}")
    compared = {name: models[name] for name in PHOTO}
    rows = (
        photo_row(image, compared, quality, options.output)
        for image in images
        for quality in QUALITIES
    )
    print(f"## Photographs compressed by JPEG\n\n{table(rows)}")


def table(rows: Iterable[Mapping[str, str]]) -> str:
    """Returns a Markdown table of rows that have the same columns."""
    rows = list(rows)
    return markdown_table([list(rows[0]), *(list(row.values()) for row in rows)])


def clean_row(image: Path, name: str, model: Upscaler, output: Path) -> dict[str, str]:
    """Writes crops of an image and of its result, and returns the row of the table with them.

    Args:
        image: HR file, whose name without suffix is a key of CROPS.
        name: name of the model.
        model: upscales the LR image.
        output: folder of the crops.

    Returns:
        {column: content}.
    """
    hr = mod_crop(read_rgb(image), model.scale)
    lr = imresize(hr, 1 / model.scale)
    bicubic, result = imresize(lr, model.scale), model.upscale(lr)
    assert result.theta is not None
    ours, theirs = (psnr_y(pixels, hr, shave=model.scale) for pixels in (result.image, bicubic))
    crops = {
        "bicubic": (f"bicubic_x{model.scale}", bicubic),
        "result": (name, result.image),
        "HR": ("hr", hr),
        "θ": (f"{name}_theta", colorize(result.theta)),
    }
    return {
        "preset, PSNR-Y of the image": f"{name}: {ours:.2f} dB (bicubic {theirs:.2f})",
        **_cells(image.stem, crops, output, name),
    }


def photo_row(
    image: Path, models: Mapping[str, Upscaler], quality: int, output: Path
) -> dict[str, str]:
    """Writes crops of the results of a compressed image, and returns the row with them.

    Args:
        image: as for clean_row.
        models: by name; of one scale; θ is that of the last.
        quality: of JPEG (4:2:0), by which the LR image is compressed.
        output: folder of the crops.

    Returns:
        {column: content}.
    """
    scale = next(iter(models.values())).scale
    hr = mod_crop(read_rgb(image), scale)
    lr = degrade.jpeg(imresize(hr, 1 / scale), quality)
    results = {name: model.upscale(lr) for name, model in models.items()}
    shown = {"bicubic": imresize(lr, scale)} | {
        name: result.image for name, result in results.items()
    }
    dbs = ", ".join(f"{name} {psnr_y(x, hr, shave=scale):.2f}" for name, x in shown.items())
    crops = {name: (f"jpeg{quality}_{name}", pixels) for name, pixels in shown.items()}
    theta = list(results.values())[-1].theta
    assert theta is not None
    crops |= {"HR": ("hr", hr), "θ": (f"jpeg{quality}_theta", colorize(theta))}
    text = f"JPEG of quality {quality}"
    return {
        "PSNR-Y of the image, dB": f"{image.stem}, {text}: {dbs}",
        **_cells(image.stem, crops, output, text),
    }


def _cells(
    subject: str, crops: Mapping[str, tuple[str, np.ndarray]], output: Path, text: str
) -> dict[str, str]:
    """Writes crops, {column: (name of the file, pixels)}; returns {column: their image tag}."""
    top, left = CROPS[subject]
    cells = {}
    for column, (name, pixels) in crops.items():
        file = f"{subject}_{name}.webp"
        crop = np.ascontiguousarray(pixels[top : top + SIDE, left : left + SIDE])
        write_rgb(output / file, crop)
        cells[column] = f"![{column}, {text}]({output.name}/{file})"
    return cells


if __name__ == "__main__":
    command_line.run(main)
