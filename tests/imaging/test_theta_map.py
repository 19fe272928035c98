import numpy as np
import pytest
import tifffile
from PIL import Image

from udl_tf.imaging.theta_map import write_map

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
    values[-1, -1] = 10.0
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
