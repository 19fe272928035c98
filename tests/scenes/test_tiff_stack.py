"""OME-TIFF and ImageJ's hyperstacks as scenes, written and read back by tifffile and ome-types."""

import numpy as np
import ome_types
import pytest
import tifffile
from helpers.scenes import enlarge

from udl_tf.errors import UserError
from udl_tf.scenes import Window, open_scene, tiff_stack

ORDERS = pytest.mark.parametrize("axes", ["TZCYX", "CZTYX", "ZTCYX"])
OME = {
    "PhysicalSizeX": 0.5,
    "PhysicalSizeXUnit": "µm",
    "PhysicalSizeY": 0.25,
    "PhysicalSizeYUnit": "µm",
    "PhysicalSizeZ": 2,
    "TimeIncrement": 3.0,
    "TimeIncrementUnit": "s",
    "Channel": {"Name": ["DAPI", "GFP"], "EmissionWavelength": [461, 509]},
    "Plane": {"DeltaT": list(map(float, range(12))), "DeltaTUnit": ["s"] * 12},
}


def random_stack(shape=(2, 3, 2, 8, 10), dtype=np.uint16):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype)


def doubled(stack, rows=-2):
    return stack.repeat(2, axis=rows).repeat(2, axis=rows + 1)


def read(path):
    """Returns (pixels, OME-XML by ome-types, which validates it)."""
    with tifffile.TiffFile(path) as tiff:
        assert tiff.ome_metadata is not None
        return tiff.asarray(), ome_types.from_xml(tiff.ome_metadata, validate=True)


@ORDERS
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_axes_sizes_units_and_names_are_kept(tmp_path, axes, compression):
    sizes = {"T": 2, "Z": 3, "C": 2, "Y": 8, "X": 10}
    stack = random_stack([sizes[name] for name in axes])
    source = tmp_path / "a.ome.tif"
    tifffile.imwrite(source, stack, compression=compression, metadata={"axes": axes, **OME})
    with open_scene(source) as scene:
        assert (scene.planes, scene.height, scene.width, scene.channels) == (6, 8, 10, 2)
        part, _ = scene.read(Window(1, 2, 3, 4, 6))
        order = [axes.index(name) for name in axes if name in "TZ"]
        planes = stack.transpose([*order, *(axes.index(name) for name in "YXC")])
        np.testing.assert_array_equal(part, planes.reshape(6, 8, 10, 2)[1, 2:6, 3:9])
    pixels, ome = read(enlarge(source, tmp_path / "b.ome.tif", step=3))
    np.testing.assert_array_equal(pixels, doubled(stack))
    assert pixels.dtype == np.uint16
    before, after = read(source)[1].images[0].pixels, ome.images[0].pixels
    assert (after.size_x, after.size_y, after.size_z, after.size_c, after.size_t) == (
        *(20, 16, 3, 2, 2),
    )
    assert after.dimension_order == before.dimension_order
    assert (after.physical_size_x, after.physical_size_y, after.physical_size_z) == (0.25, 0.125, 2)
    assert after.physical_size_x_unit == before.physical_size_x_unit
    assert (after.time_increment, after.type) == (3.0, before.type)
    assert [(one.name, one.emission_wavelength) for one in after.channels] == [
        *(("DAPI", 461), ("GFP", 509)),
    ]
    assert after.planes == before.planes
    with tifffile.TiffFile(tmp_path / "b.ome.tif") as tiff:
        expected = tifffile.COMPRESSION.ADOBE_DEFLATE if compression else tifffile.COMPRESSION.NONE
        assert tiff.pages.first.compression == expected


@pytest.mark.parametrize("layout", ["contig", "separate"])
def test_samples_of_a_colour_are_channels(tmp_path, layout):
    stack = random_stack((2, 8, 10, 3), np.uint8)
    source = tmp_path / "a.ome.tif"
    stored, axes = (stack, "ZYXS") if layout == "contig" else (np.moveaxis(stack, 3, 1), "ZSYX")
    tifffile.imwrite(
        source, stored, photometric="rgb", planarconfig=layout, metadata={"axes": axes}
    )
    theta = tmp_path / "b.ome.tif"
    pixels, ome = read(enlarge(source, tmp_path / "b.ome.tif", theta=theta, flags=True))
    assert pixels.shape == (2, 2, 16, 20, 3)  # theta is a second channel of three samples
    np.testing.assert_array_equal(pixels[:, 0], doubled(stack, rows=1))
    assert np.all(pixels[:, 1] == 0.5)
    channels = ome.images[0].pixels.channels
    assert [one.samples_per_pixel for one in channels] == [3, 3]
    assert channels[1].name == "theta"
    flags, ome = read(tmp_path / "b_flags.ome.tif")
    assert (flags.shape, flags.dtype, flags.any()) == ((2, 16, 20), np.uint8, False)
    assert ome.images[0].pixels.channels[0].name == "flags"


def test_pyramids_tiles_and_compression_are_those_of_the_source(tmp_path):
    stack = random_stack((2, 48, 40))
    source = tmp_path / "a.ome.tif"
    options = {"tile": (16, 16), "compression": "lzw", "predictor": True, "photometric": 1}
    with tifffile.TiffWriter(source) as tiff:
        tiff.write(
            stack,
            subifds=2,
            resolution=(2e4, 4e4),
            resolutionunit=3,
            metadata={"axes": "ZYX"},
            **options,
        )
        for level in (2, 4):
            tiff.write(stack[:, ::level, ::level], subfiletype=1, **options)
    enlarge(source, tmp_path / "b.ome.tif", theta=tmp_path / "t.ome.tif", step=7)
    with tifffile.TiffFile(tmp_path / "b.ome.tif") as tiff:
        levels, page = tiff.series[0].levels, tiff.pages.first
        assert [level.shape for level in levels] == [(2, 96, 80), (2, 48, 40), (2, 24, 20)]
        np.testing.assert_array_equal(levels[1].asarray(), stack)
        means = stack.reshape(2, 24, 2, 20, 2).mean(axis=(2, 4))
        np.testing.assert_array_equal(levels[2].asarray(), np.floor(means + 0.5))
        assert (page.tile, page.compression.name, page.predictor) == ((16, 16), "LZW", 2)
        assert (page.resolution, page.resolutionunit) == ((4e4, 8e4), 3)
    with tifffile.TiffFile(tmp_path / "t.ome.tif") as tiff:
        assert len(tiff.series[0].levels) == 3
        assert tiff.pages.first.predictor == 3  # of floats


@pytest.mark.parametrize(
    ("tile", "pixels"),
    [(None, 96 * 80 + 48 * 40), ((64, 64), 4 * 64**2 + 64**2)],  # of both levels of a result
)
def test_levels_and_whole_tiles_count_for_the_size_of_a_classic_tiff(
    tmp_path, monkeypatch, tile, pixels
):
    source, stack = tmp_path / "a.ome.tif", random_stack((2, 48, 40))
    options = {"photometric": "minisblack", "tile": tile}
    with tifffile.TiffWriter(source) as tiff:
        tiff.write(stack, subifds=1, metadata={"axes": "ZYX"}, **options)
        tiff.write(stack[:, ::2, ::2], subfiletype=1, **options)
    size = 2 * 2 * pixels  # two planes, two bytes
    for limit, is_big in ((size, False), (size - 1, True)):
        monkeypatch.setattr(tiff_stack, "CLASSIC_TIFF", limit)
        with tifffile.TiffFile(enlarge(source, tmp_path / "b.ome.tif")) as tiff:
            assert tiff.is_bigtiff == is_big
            levels = tiff.series[0].levels
            assert [level.shape for level in levels] == [(2, 96, 80), (2, 48, 40)]
            assert sum(sum(page.databytecounts) for level in levels for page in level) == size


def test_nodata_is_nan_or_the_given_value(tmp_path):
    array = np.ones((8, 10), np.float32)
    array[:2], array[4] = np.nan, -9999
    tifffile.imwrite(tmp_path / "a.ome.tif", array, metadata={"axes": "YX"})
    with open_scene(tmp_path / "a.ome.tif", nodata=-9999) as scene:
        _, valid = scene.read(Window(0, 0, 0, 8, 10))
        np.testing.assert_array_equal(valid[:, 0, 0], [0, 0, 1, 1, 0, 1, 1, 1])
        with scene.create(tmp_path / "b.ome.tif", 2, None, flags=False) as result:
            ones = np.ones((4, 20, 1))
            result.write(Window(0, 4, 0, 4, 20), ones, ones > 0)
    pixels, _ = read(tmp_path / "b.ome.tif")
    np.testing.assert_array_equal(pixels[:, 0], [-9999] * 4 + [1] * 4 + [-9999] * 8)


def test_what_refers_to_other_images_or_to_pixels_is_dropped_and_noted(tmp_path):
    stack = random_stack((2, 8, 10))
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as tiff:
        for name in ("first", "second"):
            tiff.write(stack, metadata={"axes": "ZYX", "Name": name}, photometric="minisblack")
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tiff:
        text = tiff.ome_metadata
    roi = '<ROI ID="ROI:0"><Union><Point ID="Shape:0" X="1" Y="2"/></Union></ROI></OME>'
    text = text.replace("</Pixels>", '</Pixels><ROIRef ID="ROI:0"/>').replace("</OME>", roi)
    tifffile.tiffcomment(tmp_path / "a.ome.tif", text.encode())
    with open_scene(tmp_path / "a.ome.tif") as scene:
        assert scene.notes == (
            "only the first of 2 images read",
            "regions of interest not carried over",
        )
    _, ome = read(enlarge(tmp_path / "a.ome.tif", tmp_path / "b.ome.tif"))
    assert [image.name for image in ome.images] == ["first"]
    assert (ome.rois, ome.images[0].roi_refs) == ([], [])


def test_hyperstacks_of_imagej_are_kept(tmp_path):
    stack = random_stack()
    metadata = {
        **{"axes": "TZCYX", "spacing": 2.0, "unit": "um", "finterval": 3.0, "mode": "composite"},
        **{"Labels": [f"slice {n}" for n in range(12)], "Info": "made by hand"},
        "Ranges": (0.0, 1000.0, 0.0, 2000.0),
    }
    source = tmp_path / "a.tif"
    tifffile.imwrite(source, stack, imagej=True, resolution=(2, 4), metadata=metadata)
    enlarge(source, tmp_path / "b.tif", theta=tmp_path / "t.tif", flags=True, step=3)
    with tifffile.TiffFile(source) as before, tifffile.TiffFile(tmp_path / "b.tif") as after:
        assert after.imagej_metadata == before.imagej_metadata
        assert after.series[0].axes == "TZCYX"
        assert after.pages.first.resolution == (4, 8)
        np.testing.assert_array_equal(after.asarray(), doubled(stack))
    with tifffile.TiffFile(tmp_path / "t.tif") as theta:
        assert theta.imagej_metadata["spacing"] == 2.0
        assert not {"Ranges", "Labels"} & set(theta.imagej_metadata)
        assert np.all(theta.asarray() == 0.5)
    assert tifffile.imread(tmp_path / "b_flags.tif").shape == (2, 3, 16, 20)


def test_theta_of_an_rgb_image_of_imagej_is_three_channels(tmp_path):
    """ImageJ reads no RGB of floats."""
    array = random_stack((8, 10, 3), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", array, imagej=True, metadata={"axes": "YXS"})
    both = enlarge(tmp_path / "a.tif", tmp_path / "b.tif", theta=tmp_path / "b.tif")
    with tifffile.TiffFile(both) as tiff:
        assert tiff.series[0].axes == "CYX"
        np.testing.assert_array_equal(tiff.asarray()[:3], doubled(np.moveaxis(array, 2, 0)))


def test_a_result_that_fails_leaves_nothing(tmp_path):
    tifffile.imwrite(tmp_path / "a.ome.tif", random_stack((8, 10)))
    with (
        pytest.raises(KeyboardInterrupt),
        open_scene(tmp_path / "a.ome.tif") as scene,
        scene.create(tmp_path / "b.ome.tif", 2, tmp_path / "t.ome.tif", flags=True),
    ):
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["a.ome.tif"]


def test_damage_is_one_line(tmp_path):
    source = tmp_path / "a.ome.tif"
    tifffile.imwrite(source, random_stack((8, 10)), compression="zlib")
    with tifffile.TiffFile(source) as tiff:
        offset = tiff.pages.first.dataoffsets[0]
    data = bytearray(source.read_bytes())
    data[offset : offset + 8] = b"damaged!"
    source.write_bytes(data)
    with (
        open_scene(source) as scene,
        pytest.raises(UserError, match=r"a\.ome\.tif: cannot be read"),
    ):
        scene.read(Window(0, 0, 0, 8, 10))
