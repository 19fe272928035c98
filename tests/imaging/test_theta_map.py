import numpy as np
import pytest
import tifffile
from PIL import Image

from udl_tf.imaging.metadata import is_result
from udl_tf.imaging.theta_map import colorize, write_map

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(20, 30, 3), (20, 30), (20, 30, 1)])
def test_values_are_stored_exactly(tmp_path, shape):
    values = RANDOM.uniform(0, 9, shape).astype(np.float32)
    write_map(tmp_path / "t.npy", values, "theta")
    assert np.array_equal(np.load(tmp_path / "t.npy"), values)
    write_map(tmp_path / "t.tiff", values, "theta")
    back = tifffile.imread(tmp_path / "t.tiff")
    assert back.dtype == np.float32
    assert np.array_equal(back, values.squeeze())
    with tifffile.TiffFile(tmp_path / "t.tiff") as file:
        assert file.pages.first.description == "theta, grey levels of 0..255"


@pytest.mark.parametrize("size", [(1, 1), (40, 600), (700, 64)])
def test_the_image_shows_the_map_and_a_scale_bar_below(tmp_path, size):
    values = np.zeros((*size, 3), np.float32)
    values[-1, -1] = 20.0
    write_map(tmp_path / "t.png", values, "theta")
    image = np.asarray(Image.open(tmp_path / "t.png"))
    assert image.shape[0] > size[0]
    assert image.shape[1] >= size[1]
    assert image[size[0] - 1, size[1] - 1].mean() > 200  # bright
    if size[0] > 1:
        assert image[0, 0].tolist() == [0, 0, 4] or image[0, 0].max() < 10  # dark
    below = image[size[0] :]
    assert len(np.unique(below.reshape(-1, 3), axis=0)) > 50  # the bar's colours
    assert (below < 100).all(axis=-1).any()  # text


def test_equal_values_of_different_maps_have_equal_colours(tmp_path):
    """Each map had a scale of its own, so that maps of a folder could not be compared."""
    low, high = np.full((4, 6), 5.0, np.float32), np.full((4, 6), 5.0, np.float32)
    high[0] = 100.0
    for name, values in (("low", low), ("high", high)):
        write_map(tmp_path / f"{name}.png", values, "theta")
    images = [np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("low", "high")]
    assert images[0][3, 5].tolist() == images[1][3, 5].tolist()
    assert images[0][3, 5].tolist() == colorize(low, 20.0)[3, 5].tolist()
    assert images[1][0, 0].tolist() == colorize(high, 20.0)[0, 0].tolist()


@pytest.mark.parametrize("shape", [(1, 1), (5, 7, 3), (600, 3, 1)])
def test_a_plain_map_has_the_size_of_its_image_and_states_its_scale(tmp_path, shape):
    values = RANDOM.uniform(0, 40, shape).astype(np.float32)
    write_map(tmp_path / "t.png", values, "theta", ["not drawn"], 30.0, "plain")
    with Image.open(tmp_path / "t.png") as image:
        assert image.size == shape[1::-1]
        assert np.array_equal(np.asarray(image), colorize(values, 30.0))
        assert image.text["Description"] == (
            "theta, grey levels of 0..255: black 0, pale yellow 30 or more"
        )
    assert is_result(tmp_path / "t.png")


def test_a_long_legend_widens_the_image_and_each_line_heightens_it(tmp_path):
    values = np.zeros((20, 30), np.float32)
    sizes = []
    for index, legend in enumerate(([], ["a"], ["a", "b"], ["a", 60 * "wide "])):
        write_map(tmp_path / f"{index}.png", values, "theta", legend)
        with Image.open(tmp_path / f"{index}.png") as image:
            sizes.append(image.size)
    assert [height for _, height in sizes] == [20 + 48, 20 + 61, 20 + 74, 20 + 74]
    assert sizes[0][0] == sizes[1][0] == sizes[2][0] < 500 < sizes[3][0]


# Colours as people without the red or the green receptor see them, in linear RGB: Vienot et al.,
# "Digital video colourmaps for checking the legibility of displays by dichromats", 1999.
VISIONS = {
    "usual": np.eye(3),
    "protanopia": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
    "deuteranopia": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
}


@pytest.mark.parametrize("vision", VISIONS)
def test_larger_values_are_lighter_for_every_colour_vision(vision):
    """The lightness L* of CIELAB rises in steps that are nearly equal."""
    colors = colorize(np.linspace(0, 20, 33)[None])[0] / 255
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    luminance = np.clip(linear @ np.array(VISIONS[vision]).T, 0, 1) @ [0.2126, 0.7152, 0.0722]
    lightness = np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)
    steps = np.diff(lightness)
    assert steps.min() > 1
    assert steps.max() < 6
    assert lightness[0] < 2
    assert lightness[-1] > 95


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_a_tiff_of_any_number_of_channels(tmp_path, channels):
    values = np.random.default_rng(0).uniform(0, 9, (5, 6, channels)).astype(np.float32)
    write_map(tmp_path / "t.tiff", values, "theta")
    assert np.array_equal(tifffile.imread(tmp_path / "t.tiff"), values)
