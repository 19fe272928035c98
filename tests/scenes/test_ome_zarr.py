"""OME-Zarr as scenes, written and read back by zarr."""

import shutil

import numpy as np
import pytest
import zarr
from helpers.scenes import enlarge, repeated

from udl_tf.errors import UserError
from udl_tf.scenes import Window, open_scene
from udl_tf.scenes.marks import is_result

AXES = [
    {"name": "t", "type": "time", "unit": "second"},
    {"name": "c", "type": "channel"},
    {"name": "z", "type": "space", "unit": "micrometer"},
    {"name": "y", "type": "space", "unit": "micrometer"},
    {"name": "x", "type": "space", "unit": "micrometer"},
]
SHOWN = {"min": 0.0, "max": 65535.0, "start": 0.0, "end": 800.0}
CHANNELS = [
    {"label": "DAPI", "color": "0000FF", "window": SHOWN},
    {"label": "GFP", "color": "00FF00", "window": SHOWN},
]
VERSIONS = pytest.mark.parametrize("zarr_format", [2, 3])
SHAPE = (2, 2, 3, 8, 10)


def random_stack(shape=SHAPE):
    return np.random.default_rng(0).integers(1, 2**16, shape, np.uint16)


def write(path, array, zarr_format, axes=AXES, levels=2, transformations=None, **options):
    """Writes an image with pixels of 0.5 um and slices of 2 um, and levels of every 2nd pixel."""
    sizes = {"t": 60.0, "c": 1.0, "z": 2.0, "y": 0.5, "x": 0.5}
    names = [axis["name"] for axis in axes]
    steps = [
        [sizes[name] * (2**level if name in "yx" else 1) for name in names]
        for level in range(levels)
    ]
    image = {
        "name": "cells",
        "axes": axes,
        "datasets": [
            {"path": f"{level}", "coordinateTransformations": [{"type": "scale", "scale": step}]}
            for level, step in enumerate(steps)
        ],
    }
    image |= transformations or {}
    omero = {"channels": CHANNELS, "rdefs": {"model": "color"}}
    if zarr_format == 2:
        attributes = {"multiscales": [image | {"version": "0.4"}], "omero": omero}
        own = {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
    else:
        attributes = {"ome": {"version": "0.5", "multiscales": [image], "omero": omero}}
        own = {"dimension_names": names}
    group = zarr.create_group(path, zarr_format=zarr_format, attributes=attributes)
    for level in range(levels):
        part = array[..., :: 2**level, :: 2**level]
        chunks = options.get("chunks", (1,) * (array.ndim - 2) + (4, 4))
        stored = group.create_array(
            f"{level}", shape=part.shape, dtype=part.dtype, **own, **(options | {"chunks": chunks})
        )
        stored[...] = part
    return path


@pytest.mark.parametrize(
    ("names", "planes"), [("yxc", 1), ("xyz", 3), ("czxy", 3), ("xcy", 1), ("hwc", 1)]
)
def test_rows_and_columns_are_found_in_any_order_of_axes(tmp_path, names, planes):
    sizes = {"y": 8, "x": 10, "h": 8, "w": 10, "c": 2, "z": 3}
    stack = random_stack(tuple(sizes[name] for name in names))
    chunks = (1,) + (4,) * (stack.ndim - 1)
    named = [{"name": name, "type": "channel" if name == "c" else "space"} for name in names]
    scale = {"type": "scale", "scale": [1.0] * len(names)}
    steps = [{"path": "0", "coordinateTransformations": [scale]}]
    source = tmp_path / "a.zarr"
    attributes = {"version": "0.5", "multiscales": [{"axes": named, "datasets": steps}]}
    group = zarr.create_group(source, attributes={"ome": attributes})
    group.create_array("0", shape=stack.shape, dtype=stack.dtype, chunks=chunks)[...] = stack
    with open_scene(source) as scene:
        assert (scene.planes, scene.height, scene.width) == (planes, 8, 10)
        assert scene.channels == (2 if "c" in names else 1)
    result = zarr.open_group(enlarge(source, tmp_path / "b.zarr", step=3), mode="r")
    for axis, name in enumerate(names):
        if name in "yxhw":
            stack = stack.repeat(2, axis=axis)
    np.testing.assert_array_equal(result["0"][...], stack)
    (step, *_) = metadata(tmp_path / "b.zarr")[1]["datasets"][0]["coordinateTransformations"]
    assert step["scale"] == [0.5 if name in "yxhw" else 1.0 for name in names]


def metadata(path):
    """Returns (metadata of OME, of the first image)."""
    attributes = dict(zarr.open_group(path, mode="r").attrs)
    ome = attributes.get("ome", attributes)
    return ome, ome["multiscales"][0]


@VERSIONS
def test_results_have_all_levels_with_pixels_of_half_the_size_in_the_same_place(
    tmp_path, zarr_format
):
    stack = random_stack()
    source = write(tmp_path / "a.ome.zarr", stack, zarr_format)
    with open_scene(source) as scene:
        assert (scene.planes, scene.height, scene.width, scene.channels) == (6, 8, 10, 2)
        values, valid = scene.read(Window(5, 2, 3, 4, 6))
        np.testing.assert_array_equal(values, stack[1, :, 2, 2:6, 3:9].transpose(1, 2, 0))
        assert valid.all()
    result = enlarge(source, tmp_path / "b.ome.zarr", step=3)
    group = zarr.open_group(result, mode="r")
    assert group.metadata.zarr_format == zarr_format
    assert (is_result(result), is_result(source), is_result(tmp_path)) == (True, False, False)
    np.testing.assert_array_equal(group["0"][:], stack.repeat(2, axis=3).repeat(2, axis=4))
    np.testing.assert_array_equal(group["1"][:], stack)  # each the mean of four equal pixels
    assert group["0"].chunks == (1, 1, 1, 4, 4)
    assert repr(group["0"].compressors) == repr(zarr.open_group(source)["0"].compressors)
    ome, image = metadata(result)
    assert image["axes"] == AXES
    assert ome["omero"]["channels"] == CHANNELS
    assert ome["omero"]["rdefs"] == {"model": "color"}
    # The centre of the first pixel is 0.25/2 um from the corner, which was 0.5/2 um before 0.
    assert [level["coordinateTransformations"] for level in image["datasets"]] == [
        [
            {"type": "scale", "scale": [60.0, 1.0, 2.0, 0.25, 0.25]},
            {"type": "translation", "translation": [0.0, 0.0, 0.0, -0.125, -0.125]},
        ],
        [{"type": "scale", "scale": [60.0, 1.0, 2.0, 0.5, 0.5]}],
    ]
    if zarr_format == 3:
        assert group["0"].metadata.dimension_names == tuple("tczyx")


def test_places_of_the_source_are_kept(tmp_path):
    place = {"type": "translation", "translation": [0.0, 0.0, 10.0, 100.0, 200.0]}
    size = {"type": "scale", "scale": [60.0, 1.0, 2.0, 0.5, 0.5]}
    whole = [{"type": "scale", "scale": [2.0, 1.0, 1.0, 1.0, 1.0]}]
    source = write(
        tmp_path / "a.zarr",
        random_stack(),
        3,
        levels=1,
        transformations={
            "datasets": [{"path": "0", "coordinateTransformations": [size, place]}],
            "coordinateTransformations": whole,
        },
    )
    _, image = metadata(enlarge(source, tmp_path / "b.zarr"))
    step = image["datasets"][0]["coordinateTransformations"][1]
    assert step["translation"] == [0.0, 0.0, 10.0, 99.875, 199.875]
    assert image["coordinateTransformations"] == whole


@VERSIONS
def test_chunks_that_are_not_stored_hold_no_data(tmp_path, zarr_format):
    stack = random_stack()
    stack[1, 0, 0, 4:, 4:8] = 0  # a chunk, which zarr does not store
    source = write(tmp_path / "a.zarr", stack, zarr_format)
    shutil.rmtree(source / "0" / ("1/1" if zarr_format == 2 else "c/1/1"))  # a time of a channel
    with open_scene(source) as scene:
        _, valid = scene.read(Window(3, 2, 3, 6, 6))
        expected = np.ones((6, 6), bool)
        expected[2:, 1:5] = False
        np.testing.assert_array_equal(valid[..., 0], expected)
        assert not valid[..., 1].any()
        assert scene.holds_data(Window(3, 2, 3, 6, 6))
        assert not scene.holds_data(Window(3, 4, 4, 4, 4))
        assert scene.holds_data(Window(0, 4, 4, 4, 4))


def test_theta_and_flags_have_names_and_are_shown_from_0(tmp_path):
    source = write(tmp_path / "a.ome.zarr", random_stack(), 3)
    enlarge(source, tmp_path / "b.ome.zarr", theta=tmp_path / "t.ome.zarr", flags=True)
    theta = zarr.open_group(tmp_path / "t.ome.zarr", mode="r")["0"]
    assert theta.dtype == np.float32
    assert np.all(theta[:] == 0.5)
    ome, _ = metadata(tmp_path / "t.ome.zarr")
    assert [channel["label"] for channel in ome["omero"]["channels"]] == [
        "theta of DAPI",
        "theta of GFP",
    ]
    assert ome["omero"]["channels"][0]["window"] == {
        **{"min": 0.0, "max": 800.0, "start": 0.0, "end": 100.0}
    }
    flags = zarr.open_group(tmp_path / "b_flags.ome.zarr", mode="r")
    assert (list(flags), flags["0"].shape) == (["0"], (2, 1, 3, 16, 20))
    assert not flags["0"][:].any()


def without_types(axes):
    """Returns axes that state only their names, which is allowed in 0.4."""
    return [{"name": axis["name"]} for axis in axes]


def test_axes_without_types_are_known_by_name(tmp_path):
    stack = random_stack()
    source = write(tmp_path / "a.zarr", stack, 2, axes=without_types(AXES))
    with open_scene(source) as scene:
        assert (scene.planes, scene.channels) == (6, 2)
    enlarge(source, tmp_path / "b.zarr", theta=tmp_path / "b.zarr")
    group = zarr.open_group(tmp_path / "b.zarr", mode="r")
    np.testing.assert_array_equal(group["1"][:, :2], stack)
    assert np.all(group["1"][:, 2:] == 0.5)


@pytest.mark.parametrize("axes", [AXES[2:], without_types(AXES[2:])])
def test_theta_in_the_same_folder_adds_a_channel_axis(tmp_path, axes):
    stack = random_stack((3, 8, 10))
    source = write(tmp_path / "a.zarr", stack, 2, axes=axes)
    enlarge(source, tmp_path / "b.zarr", theta=tmp_path / "b.zarr")
    group = zarr.open_group(tmp_path / "b.zarr", mode="r")
    assert group["0"].shape == (2, 3, 16, 20)
    np.testing.assert_array_equal(group["1"][0], stack)
    assert np.all(group["1"][1] == 0.5)
    _, image = metadata(tmp_path / "b.zarr")
    assert [axis["name"] for axis in image["axes"]] == ["c", "z", "y", "x"]
    scales = [step["coordinateTransformations"][0]["scale"] for step in image["datasets"]]
    assert scales == [[1.0, 2.0, 0.25, 0.25], [1.0, 2.0, 0.5, 0.5]]


def test_nan_is_nodata_and_windows_not_written_are_not_stored(tmp_path):
    array = np.ones((1, 8, 8), np.float32)
    array[0, :4, :4], array[0, 7, 7] = np.nan, np.nan
    source = write(tmp_path / "a.zarr", array, 3, axes=[AXES[1], *AXES[3:]], fill_value=np.nan)
    with (
        open_scene(source) as scene,
        scene.create(tmp_path / "b.zarr", 2, None, flags=False) as result,
    ):
        for top in (4, 0):
            window = Window(0, top, 0, 4, 8)
            if top:
                values, valid = (repeated(part, 2) for part in scene.read(window))
                result.write(Window(0, 8, 0, 8, 16), values, valid)
    written = zarr.open_group(tmp_path / "b.zarr", mode="r")
    assert np.isnan(written["0"][0, :8]).all()
    np.testing.assert_array_equal(np.isnan(written["1"][0, 4:]), np.isnan(array[0, 4:]))
    assert written["0"].nchunks_initialized == 8


def test_shards_are_read_and_labels_are_noted(tmp_path):
    stack = random_stack((1, 8, 8))
    axes = [AXES[1], *AXES[3:]]
    source = write(
        tmp_path / "a.zarr", stack, 3, axes=axes, chunks=(1, 2, 2), shards=(1, 4, 4), levels=1
    )
    zarr.open_group(source).create_group("labels")
    with open_scene(source) as scene:
        assert scene.notes == ("labels not carried over", "the result is stored without shards")
        np.testing.assert_array_equal(scene.read(Window(0, 0, 0, 8, 8))[0][..., 0], stack[0])
    result = zarr.open_group(enlarge(source, tmp_path / "b.zarr"), mode="r")["0"]
    assert (result.chunks, result.shards) == ((1, 2, 2), None)
    np.testing.assert_array_equal(result[:, ::2, ::2], stack)
    assert len(result.compressors) == 1


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({}, "no image of OME-Zarr: give the folder of one image"),
        ({"ome": {"version": "0.5", "plate": {}}}, "but a plate or well of many: give"),
        ({"ome": {"bioformats2raw.layout": 3}}, "but a container of images, such as 0: give"),
        (
            {"ome": {"version": "0.6", "multiscales": [{"axes": AXES, "datasets": []}]}},
            "of version 0.6 in zarr 3: expected 0.4 in zarr 2 or 0.5 in zarr 3; convert it",
        ),
    ],
)
def test_other_folders_of_zarr_are_refused_in_one_line(tmp_path, attributes, message):
    zarr.create_group(tmp_path / "a.zarr", attributes=attributes)
    with pytest.raises(UserError, match=message):
        open_scene(tmp_path / "a.zarr")


def test_a_damaged_chunk_is_refused_when_it_is_read(tmp_path):
    source = write(tmp_path / "a.zarr", random_stack((1, 8, 8)), 3, axes=[AXES[1], *AXES[3:]])
    (source / "0/c/0/1/1").write_bytes(b"damaged")
    with open_scene(source) as scene:
        scene.read(Window(0, 0, 0, 4, 4))
        with pytest.raises(UserError, match=r"a\.zarr: cannot be read \("):
            scene.read(Window(0, 0, 0, 8, 8))


def test_a_result_that_fails_leaves_the_folder_that_was_there(tmp_path):
    source = write(tmp_path / "a.zarr", random_stack((1, 8, 8)), 3, axes=[AXES[1], *AXES[3:]])
    old = enlarge(source, tmp_path / "b.zarr", scale=3)
    with (
        pytest.raises(KeyboardInterrupt),
        open_scene(source) as scene,
        scene.create(old, 2, None, flags=False),
    ):
        raise KeyboardInterrupt
    assert zarr.open_group(old, mode="r")["0"].shape == (1, 24, 24)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zarr", "b.zarr"]
