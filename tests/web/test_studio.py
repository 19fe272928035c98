"""What all visitors of the page share."""

import pytest
from helpers.upscalers import Repeating
from helpers.web import studio_of

from udl_tf.errors import UserError
from udl_tf.imaging.value_range import ValueRange


def test_a_model_of_other_than_rgb_images_is_one_line():
    measuring = Repeating(2)
    measuring.value_range = ValueRange((0.0,), (4000.0,))
    for model, message in (
        (Repeating(2, channels=4), "stub: its images have 4 channels, but the page shows RGB"),
        (measuring, "stub: is a model of measurements"),
    ):
        with pytest.raises(UserError, match=message), studio_of(model):
            pass
