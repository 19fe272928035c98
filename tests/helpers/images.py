"""Small images and image files."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo


def noise_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Returns a uint8 RGB image of smooth noise."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (height // 4 + 2, width // 4 + 2, 3), dtype=np.uint8)
    size = (width, height)
    return np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))


def write_noise(path: Path, seed: int = 0) -> Path:
    """Writes a noise image of 8x6 pixels; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise_image(6, 8, seed)).save(path)
    return path


def fill_folder(folder, count):
    """Writes images of different sizes, every other one in a subfolder."""
    from udl_tf.imaging.rgb_files import write_rgb

    for index in range(count):
        place = folder / ("below" if index % 2 else "") / f"{index:03}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        write_rgb(place, noise_image(20 + index % 7, 24 + index % 5, index))


def make_pairs(folder, scale, lr_folder="LR_bicubic/X{scale}", suffix="x{scale}"):
    """Writes three pairs of 36x24 HR images and their LR images; returns the folder."""
    from udl_tf.imaging.resize import imresize
    from udl_tf.imaging.rgb_files import write_rgb

    for index in range(3):
        hr = noise_image(24, 36, index)
        write_rgb(folder / "HR" / f"{index}.png", hr)
        name = f"{index}{suffix.format(scale=scale)}.png"
        write_rgb(folder / lr_folder.format(scale=scale) / name, imresize(hr, 1 / scale))
    return folder


def mark_as_result(path: Path) -> None:
    """Marks a PNG as a result of this package."""
    mark = PngInfo()
    mark.add_text("Software", "udl_tf 0.0")
    with Image.open(path) as image:
        image.load()
    image.save(path, pnginfo=mark)


def declared_png(width: int, height: int) -> bytes:
    """Returns a PNG that declares a size and contains no pixels."""
    png = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    for chunk in (b"IHDR" + header, b"IDAT" + zlib.compress(b"")):
        png += struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return png


def encoded(image: np.ndarray, kind: str, **options) -> bytes:
    """Returns an image file in one of Pillow's formats."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()
