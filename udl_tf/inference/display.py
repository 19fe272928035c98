"""Results as HTML for notebooks: image beside theta, with one colour scale and a legend."""

import base64
import io
import math
from html import escape

import numpy as np
from PIL import Image

from udl_tf.imaging.dtypes import FULL_RANGE, gray_level, to_dtype
from udl_tf.imaging.theta_map import MAP_TOP, channel_mean, colorize
from udl_tf.inference.result import Upscaled, mean_of_known

_SIDE = 320  # of the square that an image fits into, px
_MEMBERS = 4  # images of a stack that are shown, together as large as one


def result_html(result: Upscaled) -> str:
    """Returns image and theta, downscaled, as HTML with embedded images and without scripts.

    Text has the colour of the page, so that it is readable on any background.
    """
    members = result.members()[:_MEMBERS]
    side = int(_SIDE / math.sqrt(max(len(members), 1)))
    low, high = result.value_range
    top = MAP_TOP * (high - low) / 255.0
    figures = []
    for one in members:
        figures.append(_figure(_shrunk(_in_8_bits(one), side), _size(one.image)))
        if one.theta is not None:
            theta = np.nan_to_num(channel_mean(one.theta))  # of nodata: 0, as black
            theta = np.asarray(_shrunk(Image.fromarray(theta), side))
            figures.append(_figure(Image.fromarray(colorize(theta, top)), "θ"))
    row = f'<div style="display:flex;flex-wrap:wrap;gap:12px">{"".join(figures)}</div>'
    return row if result.theta is None else f"<div>{row}{_legend(result, top)}</div>"


def _in_8_bits(result: Upscaled) -> Image.Image:
    """Returns the image of a result in 8 bits, grey, RGB or with alpha."""
    pixels = _shown_channels(result)
    if np.issubdtype(pixels.dtype, np.floating) or result.flags is not None:
        low, high = result.value_range
        pixels = (np.nan_to_num(pixels, nan=low) - low) * (255.0 / (high - low))
    elif pixels.dtype != np.uint8:
        pixels = pixels / np.float32(gray_level(pixels.dtype))
    pixels = to_dtype(pixels, np.uint8)
    return Image.fromarray(pixels)


def _shown_channels(result: Upscaled) -> np.ndarray:
    """Returns the channels of an image that are shown: the first three, or the first, and alpha.

    Measurements have no alpha; a result with theta has it if theta has fewer channels.
    """
    pixels, theta = result.image, result.theta
    if pixels.ndim == 2:
        return pixels
    channels = pixels.shape[2]
    fewer = theta is None or theta.shape[2] < channels
    has_alpha = channels in (2, 4) and fewer and result.flags is None
    if has_alpha or channels == 3:
        return pixels
    return pixels[..., :3] if channels > 3 else pixels[..., 0]


def _shrunk(image: Image.Image, side: int) -> Image.Image:
    """Returns the image, in which pixels are averaged if it exceeds a square of `side`."""
    factor = min(side / max(image.size), 1.0)
    width, height = (max(round(length * factor), 1) for length in image.size)
    return image.resize((width, height), Image.Resampling.BOX)


def _figure(image: Image.Image, caption: str) -> str:
    """Returns an image with a caption below."""
    style = 'style="display:block;margin-bottom:2px"'
    return f'<div><img src="{_data_uri(image)}" alt="{caption}" {style}>{caption}</div>'


def _size(image: np.ndarray) -> str:
    height, width = image.shape[:2]
    return f"{width} × {height} pixels, {image.dtype}"


def _data_uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=80)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _legend(result: Upscaled, top: float) -> str:
    """Returns the scale bar of theta and what theta means."""
    bar = Image.fromarray(colorize(np.linspace(0, 1, 256)[None].repeat(10, axis=0), 1.0))
    marks = "".join(f"<span>{mark}</span>" for mark in (0, f"{top / 2:.3g}", f"{top:.3g} or more"))
    scale = (
        f'<div style="width:256px;margin-top:6px"><img src="{_data_uri(bar)}" alt="scale bar"'
        f' style="display:block"><div style="display:flex;justify-content:space-between">{marks}'
        "</div></div>"
    )
    return f"{scale}<div>{escape(_meaning(result))}</div>"


def _meaning(result: Upscaled) -> str:
    """Returns in words what theta says about the image."""
    assert result.theta is not None
    unit = " grey levels" if result.value_range == FULL_RANGE else ""
    text = f"θ: predicted scale of the error, {mean_of_known(result.theta):.3g}{unit} on average"
    if result.calibration is None:
        return f"{text}; not calibrated: it ranks the pixels, but has no intervals"
    return f"{text}; nine of ten pixels are within ±{result.half_width(0.9):.3g}{unit}"
