"""Luma of ITU-R BT.601, on which PSNR and SSIM are computed in super-resolution."""

import numpy as np

LUMA, LUMA_OFFSET = (65.481 / 255.0, 128.553 / 255.0, 24.966 / 255.0), 16.0  # of RGB in 0..255


def rgb_to_y(image: np.ndarray) -> np.ndarray:
    """Computes the studio-range luma Y of an RGB image, not rounded.

    Args:
        image: (..., 3), RGB in 0..255.

    Returns:
        (...), float64 in 16..235.

    Source: BT.601 as in MATLAB's rgb2ycbcr: Y = 16 + (65.481 R + 128.553 G + 24.966 B)/255.
    """
    return LUMA_OFFSET + image.astype(np.float64) @ np.array(LUMA)
