"""Metrics of one image: by the field's protocol for 8-bit RGB, else those of measurements."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from udl_tf.data.pixels import Pixels
from udl_tf.metrics import TITLES, ergas, psnr, psnr_y, sam, ssim, ssim_y

PER_CHANNEL = ("psnr_channels", "ssim_channels")
"""Metrics of which a list is reported, one number per channel."""


def image_metrics(sr: np.ndarray, hr: np.ndarray, scale: int, pixels: Pixels) -> dict[str, Any]:
    """Computes the metrics of a result, of all pixels with data but `scale` on every side.

    Args:
        sr, hr: as `pixels` has them: uint8 RGB, or float32 in the network's 0..255, with NaN for
            nodata in hr.
        scale: HR over LR size.
        pixels: how the images were read.

    Returns:
        "psnr_y" and "ssim_y" of 8-bit RGB. Of measurements "psnr" and "ssim", means over channels,
        "psnr_channels" and "ssim_channels", and of several channels "sam" and "ergas", in the unit
        of the files.
    """
    if not pixels.measured:
        return {"psnr_y": psnr_y(sr, hr, scale), "ssim_y": ssim_y(sr, hr, scale)}
    inside = np.s_[scale:-scale, scale:-scale]
    unit = pixels.unit
    sr, hr = (unit.from_network(image[inside].astype(np.float64)) for image in (sr, hr))
    peak = np.array(unit.high) - np.array(unit.low)
    lists = {"psnr": psnr(sr, hr, peak).tolist(), "ssim": ssim(sr, hr, peak).tolist()}
    found: dict[str, Any] = {name: known_mean(values) for name, values in lists.items()}
    if pixels.channels > 1:
        found |= {"sam": sam(sr, hr), "ergas": ergas(sr, hr, scale)}
    return found | {f"{name}_channels": values for name, values in lists.items()}


def known_mean(values: Sequence[float]) -> float:
    """Returns the mean of the numbers that are not NaN; NaN if there are none."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def mean_metrics(rows: Sequence[Mapping[str, Any]], prefix: str = "") -> dict[str, Any]:
    """Returns the means over images of the metrics that they have, of keys with a prefix."""
    means: dict[str, Any] = {
        key: known_mean([row[key] for row in rows])
        for key in (prefix + name for name in TITLES)
        if key in rows[0]
    }
    for key in (prefix + name for name in PER_CHANNEL):
        if key in rows[0]:
            columns = zip(*(row[key] for row in rows), strict=True)
            means[key] = [known_mean(column) for column in columns]
    return means


def metric_text(name: str, value: float) -> str:
    """Returns a metric for people, such as "PSNR-Y 31.250 dB"."""
    title, unit, digits = TITLES[name]
    return f"{title} {value:.{digits}f} {unit}".rstrip()
