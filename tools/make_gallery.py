"""Makes the images of docs/gallery.md from the test images of the package, and prints its tables.

python tools/make_gallery.py [--output docs/gallery]
"""

from pathlib import Path

import numpy as np

import udl_tf
from udl_tf._support import command_line
from udl_tf._support.tables import markdown_table
from udl_tf.data import bundled_dataset
from udl_tf.hub import presets
from udl_tf.imaging import imresize, mod_crop, read_rgb, write_rgb
from udl_tf.imaging.theta_map import colorize
from udl_tf.inference import Upscaler
from udl_tf.metrics import psnr_y

SIDE = 120  # of a crop, HR pixels
CROPS = {"camera": (40, 76), "chelsea": (60, 120), "rocket": (60, 60)}  # top, left, HR pixels
HEAD = ["preset, PSNR-Y of the image", "bicubic", "result", "HR", "θ"]


def main(arguments: list[str] | None = None) -> None:
    parser = command_line.make_parser("python tools/make_gallery.py", __doc__)
    parser.add_argument("--output", type=Path, default=Path("docs/gallery"), help="folder")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    models = {name: udl_tf.load(name) for name in presets.names()}
    for source in bundled_dataset("test").sources:
        rows = [add_row(source.hr, name, model, options.output) for name, model in models.items()]
        print(f"## {Path(source.hr).stem}\n\n{markdown_table([HEAD, *rows])}")


def add_row(image: Path | str, name: str, model: Upscaler, output: Path) -> list[str]:
    """Writes crops of an image and of its result, and returns the row of the table with them.

    Args:
        image: HR file, whose name without suffix is a key of CROPS.
        name: name of the model.
        model: upscales the LR image.
        output: folder of the crops.
    """
    subject = Path(image).stem
    hr = mod_crop(read_rgb(image), model.scale)
    lr = imresize(hr, 1 / model.scale)
    bicubic, result = imresize(lr, model.scale), model.upscale(lr)
    assert result.theta is not None
    crops = {
        f"{subject}_bicubic_x{model.scale}": bicubic,
        f"{subject}_{name}": result.image,
        f"{subject}_hr": hr,
        f"{subject}_{name}_theta": colorize(result.theta),
    }
    for crop, pixels in crops.items():
        write_rgb(output / f"{crop}.webp", _crop(pixels, *CROPS[subject]))
    dbs = [psnr_y(pixels, hr, shave=model.scale) for pixels in (result.image, bicubic)]
    figures = f"{name}: {dbs[0]:.2f} dB (bicubic {dbs[1]:.2f})"
    texts = (f"![{text}, {name}]" for text in HEAD[1:])
    files = (f"({output.name}/{crop}.webp)" for crop in crops)
    return [figures, *map("".join, zip(texts, files, strict=True))]


def _crop(pixels: np.ndarray, top: int, left: int) -> np.ndarray:
    return np.ascontiguousarray(pixels[top : top + SIDE, left : left + SIDE])


if __name__ == "__main__":
    command_line.run(main)
