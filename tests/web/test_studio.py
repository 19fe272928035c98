"""What all visitors of the page share."""

import tracemalloc
from unittest.mock import Mock

import pytest
from helpers.images import noise_image
from helpers.upscalers import Repeating
from helpers.web import Gated, studio_of
from PIL import Image

from udl_tf._support.progress import no_progress
from udl_tf.errors import UserError
from udl_tf.imaging.value_range import ValueRange
from udl_tf.web.studio import Studio
from udl_tf.web.uploads import open_upload
from udl_tf.web.upscaling import stored_size, upscale_upload


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


def test_a_visitor_has_one_result_and_failures_leave_no_files(tmp_path, monkeypatch):
    """Results of earlier images and of failures stayed on the disk for an hour."""
    Image.fromarray(noise_image(20, 30)).save(tmp_path / "a.png")
    upload = open_upload(tmp_path / "a.png")
    with studio_of(Gated(2)) as studio:

        def upscale(visitor):
            return studio.start(visitor, upload, "stub", 3.0).future.result(30)

        results = studio.folders.results
        first, other = (upscale(visitor).image.parent for visitor in ("first", "other"))
        assert {*results.iterdir()} == {first, other}
        size = sum(path.stat().st_size for path in first.iterdir())
        assert 0.5 * stored_size(upload, 3.0) < size < stored_size(upload, 3.0)
        with monkeypatch.context() as patched:
            error = OSError(28, "No space left on device")
            patched.setattr("udl_tf.web.upscaling.write_map", Mock(side_effect=error))
            with pytest.raises(OSError, match="No space left"):
                upscale("first")
        assert {*results.iterdir()} == {first, other}  # the page still shows the first
        second = upscale("first").image.parent
        assert {*results.iterdir()} == {second, other}


@pytest.mark.parametrize("scale", [2, 4])
def test_the_page_needs_the_memory_that_it_checks(scale, tmp_path, monkeypatch):
    """The check took no account of what the page holds besides the result."""
    height, width = 1200, 40  # tall: temporary bands of rows count for little
    Image.fromarray(noise_image(height, width)).save(tmp_path / "a.png")
    upload, model, free = open_upload(tmp_path / "a.png"), Gated(scale), Mock(return_value=10**9)
    monkeypatch.setattr("udl_tf.inference.job_runner.free_memory", free)
    arguments = model, upload, 4.0, tmp_path / "out", no_progress
    upscale_upload(*arguments)  # loads what is kept for later images
    tracemalloc.start()
    try:
        upscale_upload(*arguments)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    free.return_value = peak
    with pytest.raises(UserError, match=r"a\.png: 40x1200 pixels; the result needs"):
        upscale_upload(*arguments)
    free.return_value = int(1.4 * peak)  # Python does not count Pillow's copies
    upscale_upload(*arguments)
