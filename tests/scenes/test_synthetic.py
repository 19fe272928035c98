"""Synthetic measurements."""

import numpy as np

from udl_tf.imaging.resize import imresize
from udl_tf.scenes.synthetic import camera_counts, elevation, microscopy, satellite

SIZE = 64, 48


def test_images_are_functions_of_the_seed():
    for generate in (satellite, microscopy, elevation):
        image = generate(3, *SIZE)
        assert image.shape[:2] == SIZE
        np.testing.assert_array_equal(image, generate(3, *SIZE))
        assert (image != generate(4, *SIZE)).mean() > 0.5


def test_bands_are_reflectances_and_correlated():
    image = satellite(0, *SIZE)
    assert image.dtype == np.uint16
    assert image.shape[2] == 4
    assert image.min() > 0  # which is nodata
    assert 300 < image[..., 0].mean() < 1500 < image[..., 3].mean() < 4000
    blue, green = image[..., 0].ravel(), image[..., 1].ravel()
    assert np.corrcoef(blue, green)[0, 1] > 0.7


def test_photons_become_counts_with_poisson_noise():
    """A count is 100 + 20 times a Poisson number, whose variance is its mean."""
    counts = camera_counts(np.full((200, 200), 50.0), 0).astype(float)
    assert (counts % 20 == 0).all()
    photons = (counts - 100) / 20
    assert abs(photons.mean() - 50) < 0.2  # the standard error of the mean is 0.035
    assert abs(photons.var() - 50) < 2  # that of the variance 0.35


def test_reduction_loses_details_that_neighbours_hint_at():
    """Bicubic enlargement misses the details by several times the noise, so networks can learn."""
    for image, noise in ((satellite(1, *SIZE), 8), (elevation(1, *SIZE), 0.05)):
        image = image.astype(np.float32)
        error = imresize(imresize(image, 0.5), 2) - image
        assert error.std() > 3 * noise
