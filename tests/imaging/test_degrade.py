import io
import math

import numpy as np
import pytest
from helpers.images import encoded, noise_image
from PIL import Image
from scipy.ndimage import gaussian_filter

from udl_tf.imaging import degrade


def decoded(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_jpeg_is_the_round_trip_of_pillow(subsampling):
    image = noise_image(41, 37)
    expected = decoded(encoded(image, "JPEG", quality=40, subsampling=subsampling))
    result = degrade.jpeg(image, 40, subsampling)
    assert (result.dtype, result.shape) == (np.uint8, image.shape)
    assert np.array_equal(result, expected)
    assert not np.array_equal(result, degrade.jpeg(image, 41, subsampling))


def test_chroma_subsampling_differs():
    results = {degrade.jpeg(noise_image(41, 37), 90, s).tobytes() for s in ("4:4:4", "4:2:0")}
    assert len(results) == 2


def test_webp_is_the_lossy_round_trip_of_pillow():
    image = noise_image(41, 37)
    result = degrade.webp(image, 60)
    assert np.array_equal(result, decoded(encoded(image, "WEBP", quality=60)))
    assert not np.array_equal(result, image)


GREY = np.full((300, 400, 3), 128, np.uint8)


def test_gaussian_noise_has_its_standard_deviation():
    """Rounding adds a variance of 1/12; 120,000 values per channel give sigma to 0.5 %."""
    noise = degrade.add_noise(GREY, 5.0, np.random.default_rng(0)).astype(float) - 128
    assert noise.std(axis=(0, 1)) == pytest.approx([math.sqrt(25 + 1 / 12)] * 3, rel=0.01)
    assert np.abs(noise.mean(axis=(0, 1))).max() < 0.06  # four standard errors of 5 / 346
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.02


def test_grey_noise_is_common_to_the_channels():
    noisy = degrade.add_noise(GREY, 5.0, np.random.default_rng(0), grey=True)
    assert (noisy == noisy[..., :1]).all()
    assert noisy.std() == pytest.approx(math.sqrt(25 + 1 / 12), rel=0.01)


def test_noise_is_clipped_not_wrapped():
    for level in (0, 255):
        image = np.full_like(GREY, level)
        noisy = degrade.add_noise(image, 3.0, np.random.default_rng(0))
        assert np.abs(noisy.astype(int) - level).max() < 30


@pytest.mark.parametrize("level", [25, 100, 225])
def test_the_variance_of_poisson_noise_is_proportional_to_the_value(level):
    """At white sigma, at v sigma * sqrt(v / 255): 2, 4 and 6 of 6.39 for v = 25, 100 and 225."""
    sigma = 0.4 * math.sqrt(255)
    image = np.full_like(GREY, level)
    noisy = degrade.add_poisson_noise(image, sigma, np.random.default_rng(0)).astype(float)
    variance = (0.4 * math.sqrt(level)) ** 2 + 1 / 12
    assert noisy.std() == pytest.approx(math.sqrt(variance), rel=0.01)
    assert noisy.mean() == pytest.approx(level, abs=0.05)


@pytest.mark.parametrize("sigma", [0.5, 1.2, 2.0])
def test_blur_is_that_of_scipy(sigma):
    """To a grey level of rounding; scipy's "reflect" mirrors as ours does."""
    image = noise_image(40, 50)
    radius = degrade.blur_radius((sigma, sigma))
    expected = gaussian_filter(
        image.astype(float), (sigma, sigma, 0), mode="reflect", radius=(radius, radius, 0)
    )
    result = degrade.blur(image, (sigma, sigma))
    assert np.abs(result - expected).max() < 0.501
    assert np.array_equal(result, degrade.blur(image, (sigma, sigma), angle=0.7))


def test_anisotropic_blur_is_turned():
    """The covariance of the kernel is that of its axes, and a point becomes the kernel."""
    point = np.zeros((41, 41, 3), np.uint8)
    point[20, 20] = 255
    y, x = np.mgrid[-20:21, -20:21]
    for angle, (xx, xy, yy) in {
        0.0: (4.0, 0.0, 0.36),
        np.pi / 2: (0.36, 0.0, 4.0),
        # Rotated by 45 degrees: (4 + 0.36) / 2 on the diagonal, (4 - 0.36) / 2 beside it.
        np.pi / 4: (2.18, 1.82, 2.18),
    }.items():
        kernel = degrade._gaussian((2.0, 0.6), angle, 20)
        assert kernel.sum() == pytest.approx(1, abs=1e-6)
        moments = [(kernel * product).sum() for product in (x * x, x * y, y * y)]
        assert moments == pytest.approx([xx, xy, yy], abs=0.01)
        blurred = degrade.blur(point, (2.0, 0.6), angle)[14:27, 14:27]
        assert np.abs(blurred[..., 0] - 255 * degrade._gaussian((2.0, 0.6), angle, 6)).max() < 0.501


@pytest.mark.parametrize("sigma", [0.0, 1e-12])
def test_nothing_changes_at_strength_zero(sigma):
    image, random = noise_image(20, 20), np.random.default_rng(0)
    assert np.array_equal(degrade.add_noise(image, sigma, random), image)
    assert np.array_equal(degrade.add_poisson_noise(image, sigma, random), image)
    assert np.array_equal(degrade.blur(image, (sigma, sigma)), image)
