"""Images as scenes."""

import numpy as np
import pytest
import tifffile
from helpers.scenes import enlarge, repeated
from PIL import ImageCms

from udl_tf.errors import UserError
from udl_tf.imaging.exif import Entry
from udl_tf.imaging.image_files import ImageFile, read_image
from udl_tf.imaging.image_writing import write_image
from udl_tf.imaging.metadata import Metadata
from udl_tf.scenes import Window, open_scene
from udl_tf.scenes.image_scene import open_raster


def bands_of(channels, dtype=np.uint16):
    shape = (6, 8, channels) if channels > 1 else (6, 8)
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype)


def png(path, pixels):
    write_image(path, ImageFile(pixels))
    return path


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_theta_has_the_channels_of_the_image_none_of_which_is_alpha(
    tmp_path, monkeypatch, channels
):
    monkeypatch.setattr("helpers.scenes.open_scene", open_raster)
    source = png(tmp_path / "a.png", bands_of(channels))
    theta = tmp_path / "a_theta.tiff"
    enlarge(source, tmp_path / "b.png", theta=theta, flags=True)
    np.testing.assert_array_equal(
        read_image(tmp_path / "b.png").pixels, repeated(bands_of(channels), 2)
    )
    with open_scene(theta) as scene:
        assert (scene.channels, scene.dtype, scene.notes) == (channels, np.float32, ())
        values, valid = scene.read(Window(0, 0, 0, 12, 16))
    assert valid.all()
    assert np.all(values == 0.5)
    with tifffile.TiffFile(theta) as tiff:
        assert tiff.pages.first.description == "theta in the unit of a.png"
    assert not read_image(tmp_path / "b_flags.png").pixels.any()


@pytest.mark.parametrize("nodata", [-9999, 0.5, 256, np.nan])
def test_nodata_is_a_value_of_the_image(tmp_path, nodata):
    png(tmp_path / "a.png", bands_of(3, np.uint8))
    with pytest.raises(UserError, match=rf"a\.png: nodata {nodata:g}; expected a value of"):
        open_raster(tmp_path / "a.png", nodata)


def test_profile_and_metadata_are_carried_over_to_the_image_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("helpers.scenes.open_scene", open_raster)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    metadata = Metadata(exif={315: Entry(2, b"Artist\0")}, dpi=(300.0, 150.0))
    image = ImageFile(bands_of(3, np.uint8), profile, metadata)
    write_image(tmp_path / "a.png", image)
    enlarge(tmp_path / "a.png", tmp_path / "b.png", flags=True, nodata=0)
    found, flags = read_image(tmp_path / "b.png"), read_image(tmp_path / "b_flags.png")
    assert found.icc_profile == profile
    assert found.metadata.exif == metadata.exif
    assert found.metadata.dpi == pytest.approx(metadata.dpi, rel=1e-3)
    assert (flags.icc_profile, flags.metadata.exif, flags.metadata.dpi) == (None, {}, None)


@pytest.mark.parametrize("name", ["b.png", "b.tif", "theta.png"])
def test_theta_in_an_image_file_is_refused(tmp_path, name):
    source = png(tmp_path / "a.png", bands_of(1))
    image = "b.tif" if name == "b.tif" else "b.png"
    with (
        open_raster(source) as scene,
        pytest.raises(UserError, match=rf"{name}: an image file cannot hold theta, .*: give a .ti"),
        scene.create(tmp_path / image, 2, tmp_path / name, flags=False),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_what_a_format_cannot_store_is_noted(tmp_path):
    source = png(tmp_path / "a.png", bands_of(1))
    values = np.ones((12, 16, 1))
    with open_raster(source) as scene:
        with scene.create(tmp_path / "b.webp", 2, None, flags=False) as result:
            result.write(Window(0, 0, 0, 12, 16), values, values > 0)
        assert scene.notes == (".webp stores 8 bits per channel: 16-bit pixels rounded",)
