"""What all visitors of the page share."""

import pytest
from helpers.upscalers import Repeating
from helpers.web import studio_of

from udl_tf.errors import UserError


def test_a_model_of_other_than_rgb_images_is_one_line():
    with (
        pytest.raises(UserError, match=r"stub: its images have 4 channels, but the page shows RGB"),
        studio_of(Repeating(2, channels=4)),
    ):
        pass
