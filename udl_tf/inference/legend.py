"""Meaning of theta in words, for the legend of a map."""

from udl_tf.inference.result import Upscaled


def legend(result: Upscaled, theta: float) -> tuple[str, ...]:
    """Returns lines that state how large errors are, over the whole image and at one theta.

    Args:
        result: of an image in grey levels of 0..255, with theta.
        theta: example on the scale of the map, grey levels.
    """
    if result.calibration is None:
        return ("as trained, not calibrated",)
    there = theta * result.calibration.quantile(0.9).mean()
    return (
        f"nine of ten pixels are within ±{result.half_width(0.9):.1f} grey levels",
        f"where theta is {theta:g}, nine of ten are within ±{there:.1f}",
    )
