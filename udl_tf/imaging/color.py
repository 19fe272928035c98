"""Luma of ITU-R BT.601, on which PSNR and SSIM are computed in super-resolution."""

import numpy as np


def rgb_to_y(image: np.ndarray) -> np.ndarray:
    """Computes the studio-range luma Y of an RGB image, not rounded.

    Args:
        image: (..., 3), RGB in 0..255.

    Returns:
        (...), float64 in 16..235.

    Source: BT.601 as in MATLAB's rgb2ycbcr: Y = 16 + (65.481 R + 128.553 G + 24.966 B)/255.
    """
    return 16.0 + image.astype(np.float64) @ (np.array([65.481, 128.553, 24.966]) / 255.0)
