"""What all visitors of the page share."""

import pytest
from helpers.images import noise_image
from helpers.upscalers import Repeating
from helpers.web import studio_of
from PIL import Image

from udl_tf.errors import UserError
from udl_tf.imaging.value_range import ValueRange
from udl_tf.web.studio import Studio
from udl_tf.web.uploads import open_upload


def test_a_model_of_other_than_rgb_images_is_one_line():
    measuring = Repeating(2)
    measuring.value_range = ValueRange((0.0,), (4000.0,))
    for model, message in (
        (Repeating(2, channels=4), "stub: its images have 4 channels, but the page shows RGB"),
        (measuring, "stub: is a model of measurements"),
    ):
        with pytest.raises(UserError, match=message), studio_of(model):
            pass


def test_uploads_get_the_preset_that_suits_their_compression(tmp_path, monkeypatch):
    names = ["edsr_s_x4", "light_x2", "photo_x4"]
    monkeypatch.setattr("udl_tf.hub.presets.names", lambda: names)
    monkeypatch.setattr(Studio, "_scale_of", lambda self, name: 4)
    Image.fromarray(noise_image(8, 8)).save(tmp_path / "a.png")
    Image.fromarray(noise_image(8, 8)).save(tmp_path / "a.jpg", quality=60)
    png, jpeg = (open_upload(tmp_path / name) for name in ("a.png", "a.jpg"))
    studio = Studio()
    try:
        assert studio.models == ["edsr_s_x4", "light_x2", "photo_x4"]
        assert studio.model_for(png, 2.0) == "light_x2"
        assert studio.model_for(png, 4.0) == "edsr_s_x4"
        assert studio.model_for(jpeg, 4.0) == "photo_x4"
    finally:
        studio.close()
    with studio_of(Repeating(2)) as given:
        assert given.model_for(jpeg, 4.0) == "stub"
