"""Sentences of the page, as HTML."""

import base64
import io
from html import escape

import numpy as np

from udl_tf.errors import UserError
from udl_tf.hub import presets
from udl_tf.imaging.dtypes import gray_level
from udl_tf.imaging.formats import HAS_HEIF
from udl_tf.imaging.png_writing import write_png
from udl_tf.imaging.theta_map import MAP_TOP, channel_mean, colorize
from udl_tf.web.desk import Task
from udl_tf.web.folders import LIFETIME
from udl_tf.web.uploads import MOST_PIXELS, Upload
from udl_tf.web.upscaling import Outcome, Theta
from udl_tf.web.views import LEVEL, View, shown_rgb

TITLE = "Upscale an image, and see how reliable each pixel is"

INTRODUCTION = (
    "A network upscales the image and fills in the detail that is missing. It also estimates, for"
    " each pixel, how far it may be wrong: its uncertainty θ (theta), in grey levels, the steps of"
    " an 8-bit image from 0 (black) to 255 (white)."
)

LIMITS = """
<ul>
<li><b>JPEG artefacts, noise, blur.</b> The photo presets were trained on compressed images with
light noise and blur, the others on clean ones. The latter also sharpen the faults of compressed,
noisy, blurred or already upscaled images, and θ is wrong: after compression, errors are larger than
the page says; with noise, they can be smaller.</li>
<li><b>Letters, faces, number plates.</b> What is too small to be recognised in the upload is
guessed, and may look sharp and be wrong. Never use it as evidence, or for a diagnosis.</li>
<li><b>Intervals hold on average.</b> Of 100 pixels, about 90 lie in their 90 % intervals; which
ones is unknown, and in a single image it may be 80 or 95.</li>
<li><b>Transparency</b> is upscaled by bicubic interpolation, without θ.</li>
</ul>
"""

_MAGNIFIED, _RADIUS = 8, 16  # of the inspected pixels: factor, and pixels on each side
_BAR = 256  # pixels of the colour scale
_TENTHS = f"{LEVEL * 10:.0f} of 10"


def paragraph(text: str, kind: str = "") -> str:
    """Returns plain text as a paragraph of a CSS class."""
    return f'<p class="{kind}">{escape(text)}</p>'


_FORMATS = "PNG, JPEG, TIFF, WebP, BMP, GIF, PPM, JPEG 2000, JPEG XL, AVIF" + HAS_HEIF * ", HEIC"
ACCEPTED = paragraph(
    f"At most {MOST_PIXELS / 1e6:.0f} megapixels; {_FORMATS}. The image stays on the computer that"
    f" runs udl-tf, and is deleted {LIFETIME / 60:.0f} minutes later.",
    "note",
)


NO_INTERVALS = paragraph(
    "There are no intervals: this model has no θ, or its θ is not calibrated (run udl-tf"
    " calibrate).",
    "caution",
)


def failure(error: BaseException) -> str:
    """Returns what went wrong in one line."""
    known = isinstance(error, UserError)
    return paragraph(str(error) if known else f"{type(error).__name__}: {error}", "failure")


def upload_words(upload: Upload, outscale: float, model: str, knows_compression: bool) -> str:
    """Returns the sizes of an upload and its result, and what to expect of a model.

    Args:
        upload: the image.
        outscale: size of the result divided by that of the image.
        model: name of the model.
        knows_compression: whether it was trained on compressed images.
    """
    width, height = (max(1, round(outscale * side)) for side in (upload.width, upload.height))
    text = f"{upload.width} × {upload.height} pixels; the result will have {width} × {height}."
    lines = [paragraph(text)]
    if upload.compression is not None and knows_compression:
        text = f"{upload.compression}: {model} was trained on such images."
        lines.append(paragraph(text, "note"))
    elif not presets.is_fine(upload.compression):
        text = f"{upload.compression}: {model} was trained on clean images; expect larger errors"
        lines.append(paragraph(f"{text} than θ says.", "caution"))
    return "".join([*lines, *(paragraph(note, "note") for note in upload.notes)])


def model_words(name: str, scale: int) -> str:
    """Returns the name of a trained model with its scale, for a list to choose from."""
    remarks = {"photo_x": ", fast, for JPEG and lossy WebP", "light_x": ", fast"}
    remark = next((text for start, text in remarks.items() if name.startswith(start)), "")
    return f"{name} ({scale} ×{remark})"


def task_words(task: Task, before: int) -> str:
    """Returns the place of a task in the queue, or its progress.

    Args:
        task: that waits or runs.
        before: number of tasks that must end first.
    """
    if before:
        images = "1 image is" if before == 1 else f"{before} images are"
        return f'<p>Waiting: {images} before yours.</p><progress value="0"></progress>'
    left = _time_left(task.seconds_left)
    label = escape(task.label or "Starting")
    if not task.done:
        return f'<p>{label} …</p><progress value="0"></progress>'
    share = f"{label}: {100 * task.done:.0f} %{left}"
    return f'<p>{share}</p><progress value="{task.done:.3f}"></progress>'


def _time_left(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 60:
        return f", about {max(1, round(seconds))} s left"
    return f", about {round(seconds / 60)} min left"


def outcome_words(outcome: Outcome, seconds: float) -> str:
    """Returns the summary of a result."""
    width, height = outcome.comparison.size
    lines = [paragraph(f"{width} × {height} pixels, upscaled in {seconds:.0f} s.")]
    theta = outcome.theta
    if theta is None:
        lines.append(paragraph("This model has no uncertainty: the errors are unknown.", "caution"))
    else:
        lines.append(paragraph(theta_words(theta)))
    lines += [paragraph(note, "note") for note in outcome.notes]
    return "".join(lines)


def theta_words(theta: Theta) -> str:
    """Returns mean theta and the predicted PSNR in words."""
    parts = [f"Mean θ is {theta.mean:.1f} grey levels of 255: the average error to expect."]
    if theta.factor is None:
        parts.append("θ is not calibrated: there are no intervals.")
    else:
        parts.append(
            f"{_TENTHS} pixels are within {theta.factor:.1f} θ, on average ±"
            f"{theta.factor * theta.mean:.0f} grey levels."
        )
    parts.append(f"Predicted PSNR: {theta.psnr:.1f} dB, {_quality(theta.psnr)}.")
    return " ".join(parts)


def _quality(psnr: float) -> str:
    """Describes how a result with this PSNR looks."""
    if psnr >= 40:
        return "differences from the true image are hardly visible"
    if psnr >= 32:
        return "close to the true image, with small errors at edges and in texture"
    if psnr >= 26:
        return "shapes are right, fine texture is partly guessed"
    return "much of the detail is guessed"


def view_words(outcome: Outcome, view: View) -> str:
    """Returns which part of a result is shown, and at which size."""
    width, height = outcome.comparison.size
    rows, columns = view.after.shape[:2]
    if (columns, rows) == (width, height):
        return ""
    if view.step > 1:
        return paragraph(
            f"Shown at 1/{view.step:.1f} of its size. Choose a detail to see single pixels.", "note"
        )
    return paragraph(
        f"Columns {view.left} to {view.left + columns - 1}, rows {view.top} to"
        f" {view.top + rows - 1} at full size.",
        "note",
    )


def scale_words(theta: Theta | None) -> str:
    """Returns the colour scale of the map of theta, or that there is none."""
    if theta is None:
        return paragraph("This model has no uncertainty.", "caution")
    bar = colorize(np.linspace(0, 1, _BAR)[None].repeat(12, axis=0), 1.0)
    ticks = "0", f"{MAP_TOP / 2:g}", f"{MAP_TOP:g} or more"
    labels = "".join(f"<span>{value}</span>" for value in ticks)
    return (
        f'<div class="scale"><img alt="Colours from black to pale yellow" src="{_data_uri(bar)}">'
        f"<div>{labels}</div></div>"
        + paragraph("θ in grey levels: black is certain, bright is uncertain.", "note")
    )


def limit_words(theta: Theta, limit: float) -> str:
    """Returns how much of a result is greyed out."""
    assert theta.shares is not None
    share = 100 * theta.shares[round(limit)]
    return paragraph(
        f"{share:.1f} % of the pixels are greyed out: their {100 * LEVEL:.0f} % interval is wider"
        f" than {limit:.0f} grey levels in at least one channel."
    )


def pixel_words(outcome: Outcome, x: int, y: int) -> str:
    """Returns values and intervals of a pixel, and its surroundings, magnified.

    Args:
        outcome: the result.
        x, y: column and row in the result.
    """
    pixel = outcome.comparison.around(x, y)
    values = pixel.image.reshape(-1)
    cells = [[f"{value:.0f}", "", ""] for value in values]
    if outcome.comparison.width is not None:
        unit = gray_level(pixel.image.dtype)
        low, high = (bound.reshape(-1) for bound in pixel.interval(LEVEL))
        for row, a, b in zip(cells, low, high, strict=False):  # alpha, which is last, has none
            row[1:] = f"{max(0.0, a):.0f} to {min(255 * unit, b):.0f}", f"{(b - a) / unit:.0f}"
    names = ("grey", "alpha") if len(values) <= 2 else ("red", "green", "blue", "alpha")
    rows = [
        f"<tr><th>{name}</th>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>"
        for name, row in zip(names, cells, strict=False)
    ]
    head = f"<th>value</th><th>{100 * LEVEL:.0f} % interval</th><th>its width</th>"
    return (
        f"<table><tr><th></th>{head}</tr>{''.join(rows)}</table>"
        + _rank(outcome, x, y)
        + _surroundings(outcome, x, y)
    )


def _rank(outcome: Outcome, x: int, y: int) -> str:
    """Returns how uncertain a pixel is in comparison with the others."""
    width, theta = outcome.comparison.width, outcome.theta
    if width is None or theta is None or theta.shares is None:
        return ""
    share = 100 * theta.shares[min(255, int(width[y, x]))]
    return paragraph(f"{share:.0f} % of the pixels of this image are less certain.")


def _surroundings(outcome: Outcome, x: int, y: int) -> str:
    """Returns the pixels around a pixel, magnified: the result, and the map of theta."""
    near = outcome.comparison.around(x, y, _RADIUS)
    parts = [shown_rgb(near.image)]
    if near.theta is not None and outcome.theta is not None:
        parts.append(colorize(channel_mean(near.theta)))
    row, column = min(y, _RADIUS), min(x, _RADIUS)
    images = "".join(
        f'<img alt="" src="{_data_uri(_marked(part, row, column))}">' for part in parts
    )
    caption = paragraph(f"{2 * _RADIUS + 1} pixels around column {x}, row {y}.", "note")
    return f'<div class="near">{images}</div>{caption}'


def _marked(image: np.ndarray, row: int, column: int) -> np.ndarray:
    """Returns an image, magnified, with a white and black frame around a pixel."""
    large = image.repeat(_MAGNIFIED, axis=0).repeat(_MAGNIFIED, axis=1)
    top, left = row * _MAGNIFIED, column * _MAGNIFIED
    pixel = image[row, column]
    for margin, color in ((2, 0), (1, 255)):
        large[
            max(0, top - margin) : top + _MAGNIFIED + margin,
            max(0, left - margin) : left + _MAGNIFIED + margin,
        ] = color
    large[top : top + _MAGNIFIED, left : left + _MAGNIFIED] = pixel
    return large


def _data_uri(image: np.ndarray) -> str:
    """Returns a uint8 RGB image as a URI, in PNG."""
    file = io.BytesIO()
    write_png(file, image)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
