import numpy as np
import pytest
from helpers.images import noise_image
from helpers.models import plain_calibration
from helpers.upscalers import Repeating

from udl_tf.imaging import degrade, imresize
from udl_tf.uncertainty.inputs import input_statistics, measure_sizes


def texture(seed: int) -> np.ndarray:
    return imresize(noise_image(256, 192, seed), 0.25)


@pytest.fixture(scope="module")
def model():
    """An upscaler that was calibrated on textures."""
    upscaler = Repeating(2)
    statistics = input_statistics([measure_sizes(texture(seed)) for seed in range(1, 12)])
    upscaler.calibration = plain_calibration().changed(inputs=statistics)
    return upscaler


def test_an_image_unlike_the_calibration_images_has_a_note(model):
    clean, image = model.upscale(texture(0)), degrade.jpeg(texture(0), 30)
    assert (clean.unlike, clean.notes) == ((), ())
    assert max(clean.deviations.values()) < 1
    result = model.upscale(image)
    assert result.unlike[0] == "compression blocks"
    (note,) = result.notes
    assert note.startswith("unlike the training images (compression blocks")
    assert "theta may be too small; for compressed images" in note
    wide = model.upscale(image.astype(np.uint16) * 257)
    assert wide.deviations == pytest.approx(result.deviations, rel=1e-3)
    assert result.resized((60, 50)).deviations == result.deviations


def test_deviations_of_a_stack_are_the_largest(model):
    images = np.stack([texture(0), degrade.jpeg(texture(0), 30)])
    first, second = (model.upscale(image).deviations for image in images)
    found = model.upscale(images)
    assert found.deviations == {name: max(first[name], second[name]) for name in first}
    assert len(found.notes) == 1


def test_nothing_is_assessed_without_theta_or_statistics(model):
    image = degrade.jpeg(texture(0), 30)
    without = model.upscale(image, uncertainty=False)
    assert (without.deviations, without.unlike, without.notes) == (None, (), ())
    earlier = Repeating(2)
    for earlier.calibration in (None, plain_calibration()):
        found = earlier.upscale(image)
        assert (found.deviations, found.unlike, found.notes) == (None, (), ())
