"""What theta means, in words."""

import numpy as np
from helpers.models import plain_calibration

from udl_tf.inference.legend import legend
from udl_tf.inference.result import Upscaled


def test_the_legend_states_the_interval_of_the_image_and_of_one_theta():
    """Nine of ten Laplace errors are below ln 10 theta = 2.303 theta."""
    image, theta = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 3.0, np.float32)
    assert legend(Upscaled(image, theta, None, plain_calibration()), 10.0) == (
        "nine of ten pixels are within ±6.9 grey levels",
        "where theta is 10, nine of ten are within ±23.0",
    )
    assert legend(Upscaled(image, theta), 10.0) == ("as trained, not calibrated",)
