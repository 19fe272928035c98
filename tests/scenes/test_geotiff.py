"""GeoTIFF files as scenes, written and read back by rasterio."""

import os
import warnings

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import tifffile
from helpers.scenes import enlarge, repeated
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import NotGeoreferencedWarning
from rasterio.rpc import RPC

from udl_tf.errors import UserError
from udl_tf.scenes import Window, open_scene

NORTH_UP = rasterio.Affine(10, 0, 500000, 0, -10, 4000000)
BAND_NAMES = ("B2", "B3", "B4", "B8")


def write(path, array, **options):
    """Writes (c, h, w) by rasterio; returns the path."""
    channels, height, width = array.shape
    sizes = {"count": channels, "height": height, "width": width, "dtype": array.dtype}
    defaults = {"crs": "EPSG:32633", "transform": NORTH_UP, "photometric": "MINISBLACK"}
    with rasterio.open(path, "w", driver="GTiff", **sizes, **(defaults | options)) as file:
        file.write(array)
    return path


def edit(path, **attributes):
    with rasterio.open(path, "r+") as file:
        for name, value in attributes.items():
            setattr(file, name, value)


@pytest.fixture
def reflectance(tmp_path):
    """4 bands in tiles, with all that a GeoTIFF says of them."""
    array = np.arange(1, 4 * 48 * 64 + 1, dtype=np.uint16).reshape(4, 48, 64)
    array[:, :20, :20] = 0
    path = write(
        tmp_path / "a.tif",
        array,
        nodata=0,
        tiled=True,
        blockxsize=16,
        blockysize=32,
        compress="lzw",
        predictor=2,
        interleave="band",
    )
    meanings = [ColorInterp.blue, ColorInterp.green, ColorInterp.red, ColorInterp.undefined]
    edit(
        path,
        descriptions=BAND_NAMES,
        units=("1",) * 4,
        scales=(1e-4,) * 4,
        offsets=(-0.1,) * 4,
        colorinterp=meanings,
    )
    with rasterio.open(path, "r+") as file:
        file.update_tags(PLATFORM="Sentinel-2A", AREA_OR_POINT="Point")
        file.update_tags(ns="PRODUCER", NUMBER="7")
        file.update_tags(4, WAVELENGTH="842", STATISTICS_MEAN="5")
    return path


def test_a_result_has_the_place_and_the_metadata_of_its_source(reflectance, tmp_path):
    enlarge(reflectance, tmp_path / "b.tif", scale=4, step=20)
    with rasterio.open(reflectance) as own, rasterio.open(tmp_path / "b.tif") as result:
        same = ("crs", "bounds", "nodatavals", "descriptions", "units", "scales", "offsets")
        same += ("colorinterp", "dtypes", "block_shapes", "mask_flag_enums")
        for name in same:
            assert getattr(result, name) == getattr(own, name), name
        assert result.transform == rasterio.Affine(2.5, 0, 500000, 0, -2.5, 4000000)
        assert result.tags(ns="IMAGE_STRUCTURE") == own.tags(ns="IMAGE_STRUCTURE")
        assert result.tags(ns="PRODUCER") == {"NUMBER": "7"}
        assert result.tags(4) == {"WAVELENGTH": "842"}
        tags = result.tags()
        assert tags.pop("TIFFTAG_SOFTWARE").startswith("udl_tf")
        assert tags == {"PLATFORM": "Sentinel-2A", "AREA_OR_POINT": "Point"}
        expected = own.read().repeat(4, axis=1).repeat(4, axis=2)
        np.testing.assert_array_equal(result.read(), expected)
    assert {path.name for path in tmp_path.iterdir()} == {"a.tif", "b.tif"}


def test_theta_is_stored_as_bands_of_the_result_or_as_a_file(reflectance, tmp_path):
    both = enlarge(reflectance, tmp_path / "both.tif", theta=tmp_path / "both.tif", flags=True)
    enlarge(reflectance, tmp_path / "b.tif", theta=tmp_path / "theta.tif")
    names = tuple(f"theta of {name}" for name in BAND_NAMES)
    with rasterio.open(both) as file, rasterio.open(reflectance) as own:
        assert file.descriptions == (*BAND_NAMES, *names)
        assert (file.dtypes[0], file.scales) == ("float32", (1e-4,) * 8)
        assert file.offsets == (-0.1,) * 4 + (0,) * 4  # theta is a difference
        assert file.colorinterp[:4] == own.colorinterp
        assert file.tags(4)["WAVELENGTH"] == "842"
        assert file.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "3"  # 2 is for integers
        image, theta = file.read([1, 2, 3, 4]), file.read([5, 6, 7, 8])
    with rasterio.open(tmp_path / "theta.tif") as file:
        assert (file.descriptions, file.bounds) == (names, own.bounds)
        np.testing.assert_array_equal(file.read(), theta)
        assert np.isnan(file.nodatavals).all()
    assert np.isnan(image[:, :40, :40]).all()
    assert np.isnan(theta[:, :40, :40]).all()
    assert image[0, 0, 40] == 21
    assert theta[3, 95, 127] == 0.5
    with rasterio.open(tmp_path / "both_flags.tif") as file:
        assert (file.dtypes, file.descriptions) == (("uint8",), ("flags",))
        assert file.bounds == own.bounds
        flags = file.read(1)
    assert (flags[:40, :40] == 2).all()
    assert flags.sum() == 2 * 40 * 40


@pytest.mark.parametrize("scale", [2, 3])
def test_a_pixel_keeps_its_corners_also_in_rotated_scenes(tmp_path, scale):
    rotated = rasterio.Affine(8, 6, 500000, 6, -8, 4000000)
    write(tmp_path / "a.tif", np.ones((1, 4, 5), np.float32), transform=rotated)
    enlarge(tmp_path / "a.tif", tmp_path / "b.tif", scale)
    with rasterio.open(tmp_path / "b.tif") as result:
        for row, column in [(0, 0), (4, 0), (0, 5), (3, 2)]:
            x, y = rotated.c + 8 * column + 6 * row, rotated.f + 6 * column - 8 * row
            found = rasterio.transform.xy(
                result.transform, row * scale, column * scale, offset="ul"
            )
            assert found == pytest.approx((x, y), abs=1e-6)


def test_control_points_and_rpcs_are_scaled(tmp_path):
    points = [GroundControlPoint(row, row + 1, 10.0 + row, 50.0, 7.0, str(row)) for row in range(4)]
    path = tmp_path / "a.tif"
    write(path, np.ones((1, 8, 8), np.uint8), gcps=points, crs="EPSG:4326", transform=None)
    enlarge(path, tmp_path / "b.tif")
    with rasterio.open(tmp_path / "b.tif") as result:
        found, crs = result.gcps
        assert crs == rasterio.CRS.from_epsg(4326)
        assert [(p.row, p.col, p.x, p.y, p.z) for p in found] == [
            (2 * p.row, 2 * p.col, p.x, p.y, p.z) for p in points
        ]
    ones = [1.0] + [0.0] * 19
    sensor = RPC(0, 1, 50, 1, ones, ones, 4, 8, 10, 1, ones, ones, 3.5, 8)
    write(path, np.ones((1, 8, 8), np.uint8), rpcs=sensor, transform=None, crs=None)
    enlarge(path, tmp_path / "b.tif")
    with rasterio.open(tmp_path / "b.tif") as result:
        # The centre of the first pixel is 0, its corner -0.5: 3.5 is the middle of the image.
        assert (result.rpcs.samp_off, result.rpcs.line_off) == (7.5, 8.5)
        assert (result.rpcs.samp_scale, result.rpcs.line_scale) == (16, 16)
        assert result.rpcs.lat_off == 50


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [("float32", -3.4028234663852886e38), ("float64", np.nan), ("int16", -32768), ("uint32", 7)],
)
def test_nodata_of_every_dtype(tmp_path, dtype, nodata):
    array = np.full((2, 4, 4), 9, dtype)
    array[0, 1, 1] = nodata
    write(tmp_path / "a.tif", array, nodata=nodata)
    with open_scene(tmp_path / "a.tif") as scene:
        values, valid = scene.read(Window(0, 0, 0, 4, 4))
        assert (scene.dtype, values.dtype) == (dtype, dtype)
    assert np.argwhere(~valid).tolist() == [[1, 1, 0]]
    enlarge(tmp_path / "a.tif", tmp_path / "b.tif")
    with rasterio.open(tmp_path / "b.tif") as result:
        np.testing.assert_equal(result.nodata, nodata)
        np.testing.assert_array_equal(result.read(), array.repeat(2, axis=1).repeat(2, axis=2))


def test_given_nodata_replaces_that_of_the_file(tmp_path):
    write(tmp_path / "a.tif", np.array([[[1, 2, 3]]], np.int16), nodata=1)
    with open_scene(tmp_path / "a.tif", nodata=3) as scene:
        assert scene.read(Window(0, 0, 0, 1, 3))[1].ravel().tolist() == [True, True, False]
    enlarge(tmp_path / "a.tif", tmp_path / "b.tif", nodata=3)
    with rasterio.open(tmp_path / "b.tif") as result:
        assert result.nodata == 3


def test_nodata_of_each_band_counts_and_that_of_the_first_is_written(tmp_path):
    write(tmp_path / "a.tif", np.array([[[1, 2]], [[1, 2]]], np.int16), nodata=1)
    (tmp_path / "a.tif.aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="2"><NoDataValue>2</NoDataValue></PAMRasterBand>'
        "</PAMDataset>"
    )
    with open_scene(tmp_path / "a.tif") as scene:
        valid = scene.read(Window(0, 0, 0, 1, 2))[1]
        assert scene.notes == ("nodata differs between bands: the result has 1.0 in all",)
    np.testing.assert_array_equal(valid, [[[False, True], [True, False]]])
    enlarge(tmp_path / "a.tif", tmp_path / "b.tif", scale=1)
    with rasterio.open(tmp_path / "b.tif") as result:
        # Of the second band, 2 is nodata, and 1 is not: it becomes the next number.
        np.testing.assert_array_equal(result.read(), [[[1, 2]], [[0, 1]]])


def test_colours_and_sizes_of_photographs_are_kept(tmp_path):
    resolution = {"TIFFTAG_XRESOLUTION": "100", "TIFFTAG_YRESOLUTION": "50"}
    path = write(tmp_path / "a.tif", np.ones((3, 4, 4), np.uint16), photometric="RGB")
    with rasterio.open(path, "r+") as file:
        file.update_tags(**resolution, TIFFTAG_RESOLUTIONUNIT="3 (pixels/cm)")
    enlarge(path, tmp_path / "b.tif", theta=tmp_path / "b.tif")
    with rasterio.open(tmp_path / "b.tif") as result:
        rgb = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        assert result.colorinterp == (*rgb, *[ColorInterp.undefined] * 3)
        assert result.descriptions[3:] == tuple(f"theta of band {band}" for band in (1, 2, 3))
        assert result.tags()["TIFFTAG_XRESOLUTION"] == "200"  # pixels per centimetre
    write(tmp_path / "a.tif", np.ones((1, 4, 4), np.uint8), photometric="MINISWHITE")
    enlarge(tmp_path / "a.tif", tmp_path / "b.tif")
    with rasterio.open(tmp_path / "b.tif") as result:
        assert result.tags(ns="IMAGE_STRUCTURE")["MINISWHITE"] == "YES"


@pytest.mark.parametrize("internal", [True, False])
def test_a_mask_of_the_file_is_read_and_written(tmp_path, internal):
    array, mask = np.arange(32, dtype=np.uint8).reshape(2, 4, 4), np.eye(4, dtype=bool)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal):
        write(tmp_path / "a.tif", array)
        with rasterio.open(tmp_path / "a.tif", "r+") as file:
            file.write_mask(~mask)
    assert (tmp_path / "a.tif.msk").exists() != internal
    with open_scene(tmp_path / "a.tif") as scene:
        np.testing.assert_array_equal(scene.read(Window(0, 0, 0, 4, 4))[1][..., 1], ~mask)
        assert not scene.holds_data(Window(0, 2, 2, 1, 1))
        assert scene.holds_data(Window(0, 2, 2, 1, 2))
    enlarge(tmp_path / "a.tif", tmp_path / "b.tif")
    with rasterio.open(tmp_path / "b.tif") as result:
        assert result.mask_flag_enums == ([MaskFlags.per_dataset],) * 2
        expected = ~mask.repeat(2, axis=0).repeat(2, axis=1)
        np.testing.assert_array_equal(result.dataset_mask() != 0, expected)
    assert not (tmp_path / "b.tif.msk").exists()


@pytest.mark.parametrize("driver", ["GTiff", "COG"])
def test_a_mask_that_excludes_all_pixels_is_written(tmp_path, driver):
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        write(tmp_path / "plain.tif", np.ones((1, 16, 16), np.uint8))
        with rasterio.open(tmp_path / "plain.tif", "r+") as file:
            file.write_mask(np.zeros((16, 16), bool))
        rasterio.shutil.copy(tmp_path / "plain.tif", tmp_path / "a.tif", driver=driver)
    with open_scene(tmp_path / "a.tif") as scene:
        assert not scene.holds_data(Window(0, 0, 0, 16, 16))
        with scene.create(tmp_path / "b.tif", 2, None, flags=False):
            pass
    with rasterio.open(tmp_path / "b.tif") as result:
        assert result.mask_flag_enums == ([MaskFlags.per_dataset],)
        assert not result.dataset_mask().any()


def test_alpha_marks_nodata_and_is_no_channel(tmp_path):
    array = np.full((4, 2, 3), 100, np.uint8)
    array[3] = [[0, 255, 255], [255, 128, 255]]
    write(tmp_path / "a.tif", array, photometric="RGB", ALPHA="YES")
    with open_scene(tmp_path / "a.tif") as scene:
        assert scene.channels == 3
        assert scene.notes == ("band 4 is alpha: it marks nodata and is not a channel",)
        assert scene.read(Window(0, 0, 0, 2, 3))[1].all(axis=2).sum() == 5
    enlarge(tmp_path / "a.tif", tmp_path / "b.tif")
    with rasterio.open(tmp_path / "b.tif") as result:
        assert result.colorinterp[2:] == (ColorInterp.blue, ColorInterp.alpha)
        alpha = result.read(4)
    np.testing.assert_array_equal(np.unique(alpha), [0, 255])
    assert (alpha == 0).sum() == 4


def test_blocks_without_data_are_neither_read_nor_written(tmp_path):
    path, options = tmp_path / "a.tif", {"tiled": True, "blockxsize": 256, "blockysize": 256}
    sizes = {"width": 20000, "height": 20000, "count": 4, "dtype": "float32"}
    with rasterio.open(
        path, "w", driver="GTiff", **sizes, **options, nodata=np.nan, SPARSE_OK=True,
        transform=NORTH_UP, BIGTIFF="YES",
    ) as file:  # fmt: skip
        file.write(np.ones((4, 8, 8), np.float32), window=((9000, 9008), (300, 308)))
    with open_scene(path) as scene, scene.create(tmp_path / "b.tif", 2, None, False) as result:
        assert not scene.holds_data(Window(0, 0, 0, 8192, 20000))
        assert scene.holds_data(Window(0, 9000, 0, 10, 257))
        assert not scene.holds_data(Window(0, 9000, 0, 10, 256))
        window = Window(0, 9000, 300, 8, 8)
        values, valid = (repeated(part, 2) for part in scene.read(window))
        result.write(Window(0, 18000, 600, 16, 16), values, valid)
    assert (tmp_path / "b.tif").stat().st_size < 4e6
    with rasterio.open(tmp_path / "b.tif") as file:
        assert file.read(1, window=((17990, 18020), (590, 620)), masked=True).count() == 256


def test_overviews_are_built_again(tmp_path):
    path = write(tmp_path / "a.tif", np.arange(4096, dtype=np.float32).reshape(1, 64, 64))
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4], Resampling.average)
    enlarge(path, tmp_path / "b.tif", flags=True)
    for name in ("b.tif", "b_flags.tif"):
        with rasterio.open(tmp_path / name) as result:
            assert result.overviews(1) == [2, 4, 8]  # from 64 down to 16 pixels, as the source
    with rasterio.open(tmp_path / "b.tif", overview_level=0) as level, rasterio.open(path) as own:
        np.testing.assert_array_equal(level.read(), own.read())


def test_a_cloud_optimised_file_stays_one(tmp_path):
    array = np.arange(600 * 600, dtype=np.float32).reshape(1, 600, 600)
    write(tmp_path / "plain.tif", array, nodata=-1)
    rasterio.shutil.copy(
        tmp_path / "plain.tif", tmp_path / "a.tif", driver="COG", compress="DEFLATE", blocksize=128
    )
    enlarge(tmp_path / "a.tif", tmp_path / "b.tif", step=128)
    with rasterio.open(tmp_path / "b.tif") as result:
        assert result.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert result.block_shapes == [(128, 128)]
        assert result.overviews(1) == [2, 4, 8, 16]
        assert (result.nodata, result.compression.value) == (-1, "DEFLATE")
        np.testing.assert_array_equal(result.read(1), array[0].repeat(2, 0).repeat(2, 1))
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"plain.tif", "a.tif", "b.tif"}


def test_lossy_compression_is_not_repeated(tmp_path):
    write(tmp_path / "a.tif", np.full((3, 16, 16), 77, np.uint8), compress="jpeg")
    with open_scene(tmp_path / "a.tif") as scene:
        assert scene.notes == (
            "the result is compressed by DEFLATE, without loss, instead of JPEG",
        )
    enlarge(tmp_path / "a.tif", tmp_path / "b.tif")
    with rasterio.open(tmp_path / "b.tif") as result:
        assert result.compression.value == "DEFLATE"


def test_wide_strips_become_tiles(tmp_path):
    write(tmp_path / "a.tif", np.ones((1, 2, 600), np.uint8))
    enlarge(tmp_path / "a.tif", tmp_path / "b.tif")
    enlarge(tmp_path / "a.tif", tmp_path / "same.tif", scale=1)
    with rasterio.open(tmp_path / "b.tif") as result:
        assert result.block_shapes == [(256, 256)]
    with rasterio.open(tmp_path / "same.tif") as result:
        assert result.block_shapes == [(2, 600)]


def test_tiles_larger_than_the_scene_stay_tiles(tmp_path):
    tiles = {"tiled": True, "blockxsize": 64, "blockysize": 32}
    write(tmp_path / "a.tif", np.ones((1, 40, 40), np.uint8), **tiles)
    enlarge(tmp_path / "a.tif", tmp_path / "b.tif")
    with rasterio.open(tmp_path / "b.tif") as result:
        assert result.block_shapes == [(32, 64)]


def test_the_place_in_a_world_file_is_kept_in_the_result(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.ones((4, 5, 3), np.uint8), photometric="rgb")
    (tmp_path / "a.tfw").write_text("10\n0\n0\n-10\n500005\n3999995\n")  # the first centre
    enlarge(tmp_path / "a.tif", tmp_path / "b.tif")
    with rasterio.open(tmp_path / "b.tif") as result:
        assert result.transform == rasterio.Affine(5, 0, 500000, 0, -5, 4000000)


def test_files_without_georeference_stay_without(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        write(tmp_path / "a.tif", np.ones((1, 3, 4), np.float64), transform=None, crs=None)
        enlarge(tmp_path / "a.tif", tmp_path / "b.tif")
        with rasterio.open(tmp_path / "b.tif") as result:
            assert result.transform.is_identity
            assert result.crs is None


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (np.ones((1, 2, 2), np.complex64), {}, "holds complex numbers; expected real ones"),
        (np.ones((1, 2, 2), np.int64), {}, "values of dtype int64; expected integers of at most"),
        (np.ones((65, 2, 2), np.uint8), {}, "has 65 channels; expected 1 to 64"),
        (np.ones((1, 2, 2), np.uint8), {"photometric": "palette"}, "indices into a colour table"),
    ],
)
def test_files_that_cannot_be_kept_are_refused(tmp_path, array, options, message):
    write(tmp_path / "a.tif", array, **options)
    with pytest.raises(UserError, match=message):
        open_scene(tmp_path / "a.tif")


def test_several_images_in_one_file_are_refused(tmp_path):
    write(tmp_path / "a.tif", np.ones((1, 2, 2), np.uint8))
    write(tmp_path / "a.tif", np.ones((1, 3, 3), np.uint8), APPEND_SUBDATASET=True)
    with pytest.raises(UserError, match=r"holds 2 images; expected one.*gdal_translate GTIFF_DIR:"):
        open_scene(tmp_path / "a.tif")


@pytest.mark.skipif(os.name != "posix", reason="names are not bytes")
def test_a_name_that_is_not_utf_8_is_refused(tmp_path):
    path = write(tmp_path / "a.tif", np.ones((1, 4, 4), np.uint8)).rename(
        os.fsdecode(os.fsencode(tmp_path) + b"/s\xfc\xdf.tif")
    )
    with pytest.raises(
        UserError, match=r"\.tif: its name is not UTF-8, as GDAL expects: rename it"
    ):
        open_scene(path)


def test_damage_is_reported_in_one_line_and_leaves_no_result(tmp_path):
    path = write(tmp_path / "a.tif", np.random.default_rng(0).random((1, 64, 64)), compress="lzw")
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(UserError, match=r"a\.tif: cannot be read \(.*\): replace or remove it"):
        enlarge(path, tmp_path / "b.tif")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


@pytest.mark.parametrize("compress", ["none", "lzw"])
def test_a_full_disk_is_reported_at_any_moment(tmp_path, compress):
    """GDAL holds blocks until the file is closed, and rasterio ignores failures then."""
    resource = pytest.importorskip("resource")
    array = np.random.default_rng(0).random((1, 128, 128), np.float32)
    write(tmp_path / "a.tif", array, tiled=True, blockxsize=32, blockysize=32, compress=compress)
    size = enlarge(tmp_path / "a.tif", tmp_path / "b.tif", step=10).stat().st_size
    (tmp_path / "b.tif").unlink()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        for most in range(3000, size, size // 5):
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
            with pytest.raises(UserError, match=r"b\.tif: cannot be written \(.*: check the disk"):
                enlarge(tmp_path / "a.tif", tmp_path / "b.tif", step=10)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]
