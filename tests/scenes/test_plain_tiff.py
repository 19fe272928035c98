import numpy as np
import pytest
import tifffile
from helpers.scenes import enlarge, repeated

from udl_tf.errors import UserError
from udl_tf.scenes import Window, open_scene, opening


@pytest.fixture(autouse=True)
def without_rasterio(monkeypatch):
    monkeypatch.setattr(opening, "find_spec", lambda name: None)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "uint32"])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib", "predictor": True}])
@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 2), (5, 3, 4), (2, 3, 4, 3)])
def test_values_of_every_dtype(tmp_path, dtype, options, shape):
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    contig = {"planarconfig": "contig"} if shape[-1] < 4 else {}
    kind = {"photometric": "minisblack", "metadata": None, "byteorder": ">"}
    tifffile.imwrite(tmp_path / "a.tif", array, **kind, **contig, **options)
    channels = shape[-1] if shape[-1] < 4 else 1
    planes = array.reshape(-1, 3, 4, channels)
    with open_scene(tmp_path / "a.tif") as scene:
        assert (scene.planes, scene.channels, scene.dtype) == (len(planes), channels, dtype)
        assert bool(scene.notes) == bool(options)
        with scene.create(tmp_path / "b.tif", 2, None, flags=False) as result:
            for plane in range(scene.planes):
                values, valid = scene.read(Window(plane, 0, 0, 3, 4))
                np.testing.assert_array_equal(values, planes[plane])
                for left in (0, 4):  # two windows
                    part = np.s_[:, left : left + 4]
                    window = Window(plane, 0, left, 6, 4)
                    result.write(
                        window, repeated(values, 2)[part].astype(float), repeated(valid, 2)[part]
                    )
    expected = np.stack([repeated(plane, 2) for plane in planes])
    written = tifffile.imread(tmp_path / "b.tif")
    assert written.dtype == dtype
    np.testing.assert_array_equal(written.reshape(expected.shape), expected)


@pytest.mark.parametrize(
    ("axes", "pages"), [("CYX", 3), ("ZCYX", 6), ("CZYX", 6), ("YXC", 1), ("ZYXC", 2)]
)
def test_compressed_channels_on_pages_of_their_own(tmp_path, axes, pages):
    sizes = {"Z": 2, "C": 3, "Y": 4, "X": 5}
    shape = tuple(sizes[name] for name in axes)
    array = np.random.default_rng(0).integers(0, 2**16, shape, np.uint16)
    source = tmp_path / "a.tif"
    kind = {"planarconfig": "contig"} if axes.endswith("C") else {}
    kind |= {"photometric": "minisblack", "metadata": {"axes": axes}}
    tifffile.imwrite(source, array, compression="zlib", **kind)
    with tifffile.TiffFile(source) as tiff:
        assert len(tiff.pages) == pages
    planes = array.transpose([axes.index(name) for name in "ZYXC" if name in axes])
    planes = planes.reshape(-1, 4, 5, 3)
    with open_scene(source) as scene:
        assert (scene.planes, scene.channels) == (len(planes), 3)
        for plane, expected in enumerate(planes):
            for top in (1, 2):
                values, _ = scene.read(Window(plane, top, 1, 2, 3))
                np.testing.assert_array_equal(values, expected[top : top + 2, 1:4])


def test_further_images_are_noted(tmp_path):
    """A smaller copy of the first image, as for a preview, is none."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        for side in (8, 4, 6):
            copy = {"subfiletype": 1} if side == 4 else {}
            tiff.write(np.zeros((side, side), np.uint8), metadata=None, **copy)
    with open_scene(tmp_path / "a.tif") as scene:
        assert scene.notes == ("only the first of 2 images read",)
        assert scene.height == 8


@pytest.mark.parametrize("channels", [1, 2])
def test_white_as_0_is_kept_for_the_image_alone(tmp_path, channels):
    array = np.arange(12 * channels, dtype=np.uint16).reshape(3, 4, channels)
    source, theta = tmp_path / "a.tif", tmp_path / "t.tif"
    kind = {"photometric": "miniswhite", "planarconfig": "contig", "metadata": None}
    tifffile.imwrite(source, array if channels > 1 else array[..., 0], **kind)
    enlarge(source, tmp_path / "b.tif", theta=theta)
    for path, expected in ((tmp_path / "b.tif", "MINISWHITE"), (theta, "MINISBLACK")):
        with tifffile.TiffFile(path) as tiff:
            assert tiff.pages.first.photometric.name == expected
    written = tifffile.imread(tmp_path / "b.tif").reshape(6, 8, channels)
    np.testing.assert_array_equal(written, repeated(array, 2))


def test_theta_and_flags(tmp_path):
    array = np.full((2, 3), np.nan, np.float32)
    tifffile.imwrite(tmp_path / "a.tif", array, resolution=(100, 50), resolutionunit="centimeter")
    path = tmp_path / "b.tif"
    ones = np.ones((1, 6, 1))
    theta, flags = np.float32(ones / 4), np.zeros((1, 6), np.uint8)
    with (
        open_scene(tmp_path / "a.tif") as scene,
        scene.create(path, 2, path, flags=True) as result,
    ):
        result.write(Window(0, 1, 0, 1, 6), ones, ones > 0, theta, flags)
    both = tifffile.imread(path)
    np.testing.assert_array_equal(both[1], [[1, 0.25]] * 6)
    assert np.isnan(both[[0, 2, 3]]).all()
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b_flags.tif")[:2], [[2] * 6, [0] * 6])
    with tifffile.TiffFile(path) as file:
        assert file.pages.first.resolution == (200, 100)


def test_colour_tables_and_alpha_are_refused(tmp_path):
    table = np.zeros((3, 256), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2, 2), np.uint8), colormap=table)
    with pytest.raises(UserError, match="indices into a colour table"):
        open_scene(tmp_path / "a.tif")
    rgba = np.zeros((2, 2, 4), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", rgba, photometric="rgb", extrasamples=["unassalpha"])
    with pytest.raises(UserError, match="has an alpha channel"):
        open_scene(tmp_path / "a.tif")


def test_alpha_of_several_pages_is_refused_for_its_true_reason(tmp_path):
    """GDAL, which reads alpha as nodata, reads one image per file."""
    rgba = np.zeros((3, 2, 2, 4), np.uint8)
    options = {"photometric": "rgb", "extrasamples": ["unassalpha"], "metadata": None}
    tifffile.imwrite(tmp_path / "a.tif", rgba, **options)
    with pytest.raises(UserError, match=r"has an alpha channel; .*, or store each image"):
        open_scene(tmp_path / "a.tif")


def test_a_georeference_needs_rasterio(tmp_path):
    sizes = (33550, "d", 3, (10.0, 10.0, 0.0), True)
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2, 2)), extratags=[sizes])
    kind = opening.scene_kind(tmp_path / "a.tif")
    assert kind is not None
    assert (kind.name, kind.extra) == ("GeoTIFF", "geo")


def test_damage_is_reported_in_one_line(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"II*\0\xff\0\0\0")
    with pytest.raises(UserError, match=r"a\.tif: cannot be read \(.*\): replace or remove it"):
        open_scene(tmp_path / "a.tif")
