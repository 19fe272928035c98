import os

import numpy as np
import pytest
from helpers.commands import run_command
from helpers.images import make_pairs
from helpers.measurements import field, slices, write_bands, write_heights, write_stack
from PIL import Image

from udl_tf.config import DataConfig
from udl_tf.data.draws import CropDraws, draw_batch
from udl_tf.data.measurements import list_measurements, measurement_shape, read_measurement
from udl_tf.data.pack import write_pack
from udl_tf.data.pixels import Pixels
from udl_tf.data.resident import ResidentSet
from udl_tf.data.sources import degraded, folder_dataset
from udl_tf.data.store import ImageStore, read_pair, read_pair_with_holes
from udl_tf.errors import UserError
from udl_tf.imaging.value_range import ValueRange
from udl_tf.scenes.image_scene import open_raster

HEIGHTS = Pixels(1, ValueRange((900,), (1100,)))
COUNTS = Pixels(1, ValueRange((0,), (510,)))
BANDS = Pixels(4, ValueRange((0,), (10000,)))
CONFIG = DataConfig(hr_patch_size=16, batch_size=8, nodata_share=0.1)


@pytest.fixture
def heights(tmp_path):
    dataset = folder_dataset(write_heights(tmp_path / "heights"), 2, HEIGHTS)
    return ImageStore(dataset.sources, 2, memory_gb=1)


def test_files_of_16_bits_and_arrays_are_listed_and_read(tmp_path):
    values = (1000 * field(6, 5, 1)[..., 0]).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    np.save(tmp_path / "b.npy", values)
    (tmp_path / "c.txt").touch()
    files = list_measurements(tmp_path)
    assert [file.name for file in files] == ["a.png", "b.npy"]
    for file in files:
        found, valid = read_measurement(file)
        assert found.dtype == np.uint16
        assert np.array_equal(found[..., 0], values)
        assert valid.all()
        assert measurement_shape(file) == (1, 6, 5)


def test_pairs_have_nan_in_hr_and_none_in_lr(heights):
    lr, hr = heights.pair(0)
    assert (lr.shape, hr.shape) == ((20, 22, 1), (40, 44, 1))
    assert lr.dtype == hr.dtype == np.float32
    assert np.isnan(hr[4:12, 6:20]).all()
    assert np.isnan(hr).sum() == 8 * 14
    assert np.isfinite(lr).all()


def test_nodata_of_lr_images_is_nan_if_asked_for_also_from_packs(heights, tmp_path):
    source = heights.sources[0]
    expected = np.where(np.isnan(heights.pair(0)[1][::2, ::2]), np.nan, heights.pair(0)[0])
    assert np.array_equal(read_pair_with_holes(source, 2)[0], expected, equal_nan=True)
    items = [(source.hr.name, lambda: (read_pair(source, 2), {}))]
    write_pack(tmp_path / "pack", {"scale": 2, **HEIGHTS.facts}, items)
    (packed,) = folder_dataset(tmp_path / "pack", 2, HEIGHTS).sources
    assert np.array_equal(read_pair_with_holes(packed, 2)[0], expected, equal_nan=True)


def test_lr_files_of_pairs_are_read_with_the_same_range(tmp_path):
    for index, source in enumerate(folder_dataset(make_pairs(tmp_path / "rgb", 2), 2).sources):
        lr, hr = read_pair(source, 2)
        for name, values in (("HR", hr), ("LR", lr)):
            (tmp_path / "floats" / name).mkdir(parents=True, exist_ok=True)
            np.save(tmp_path / f"floats/{name}/{index}.npy", values / 255.0)
        found = folder_dataset(tmp_path / "floats", 2, Pixels(3, ValueRange((0,), (1,)))).sources
        for ours, theirs in zip(read_pair(found[index], 2), (lr, hr), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_patches_with_too_much_nodata_are_not_drawn(heights):
    seen = set()
    for update in range(60):
        lr, hr = draw_batch(heights, CONFIG, 3, update)
        assert lr.shape == (8, 8, 8, 1)
        assert np.isfinite(lr).all()
        shares = np.isnan(hr).mean(axis=(1, 2, 3))
        assert shares.max() <= 0.1
        seen |= {float(share) for share in shares}
        again = draw_batch(heights, CONFIG, 3, update)
        assert all(
            np.array_equal(a, b, equal_nan=True) for a, b in zip((lr, hr), again, strict=True)
        )
    assert len(seen) > 3  # some nodata is drawn


def test_places_of_images_without_nodata_are_those_of_8_bit_images(tmp_path, heights):
    """Draws do not depend on how images are read."""
    for index in range(4):
        Image.fromarray(np.zeros((40, 44, 3), np.uint8)).save(tmp_path / f"{index}.png")
    plain = ImageStore(folder_dataset(tmp_path, 2).sources, 2, 1)
    crops, expected = (CropDraws(store, CONFIG, 1)(5) for store in (heights, plain))
    assert np.array_equal(crops[:, 0], expected[:, 0])
    without = crops[:, 0] != 0  # the first image has nodata
    assert without.any()
    assert np.array_equal(crops[without], expected[without])


def test_images_without_an_admissible_patch_are_skipped_or_one_line(tmp_path, heights):
    np.save(tmp_path / "heights/4.npy", np.full((40, 44), np.nan))
    store = ImageStore(folder_dataset(tmp_path / "heights", 2, HEIGHTS).sources, 2, 1)
    draws = CropDraws(store, CONFIG, 0)
    assert {int(index) for update in range(20) for index in draws(update)[:, 0]} == {0, 1, 2, 3}
    alone = ImageStore(store.sources[4:], 2, 1)
    with pytest.raises(UserError, match="more than 10 % of pixels without data"):
        CropDraws(alone, CONFIG, 0)


def test_batches_of_the_device_equal_those_of_the_host(heights):
    on_device, draws = ResidentSet(heights, CONFIG), CropDraws(heights, CONFIG, 2)
    for update in range(4):
        expected = draw_batch(heights, CONFIG, 2, update)
        found = on_device(*on_device.places(draws(update)))
        for ours, theirs in zip(found, expected, strict=True):
            assert np.array_equal(np.asarray(ours), theirs, equal_nan=True)


def test_packs_keep_floats_and_state_their_range(tmp_path):
    dataset = folder_dataset(write_bands(tmp_path / "bands"), 2, BANDS)
    items = [(s.hr.name, lambda s=s: (read_pair(s, 2), {})) for s in dataset.sources]
    write_pack(tmp_path / "pack", {"scale": 2, **BANDS.facts}, items)
    packed = folder_dataset(tmp_path / "pack", 2, BANDS)
    assert packed.sources[0].size == (40, 44)
    for ours, theirs in zip(packed.sources, dataset.sources, strict=True):
        for a, b in zip(read_pair(ours, 2), read_pair(theirs, 2), strict=True):
            assert a.dtype == np.float32
            assert np.array_equal(a, b)
    for other in (HEIGHTS, Pixels()):
        with pytest.raises(UserError, match=r"packed with 4 channels and the value range \[0, 1"):
            folder_dataset(tmp_path / "pack", 2, other)


def test_degradations_of_measurements_are_one_line(tmp_path):
    dataset = folder_dataset(write_bands(tmp_path / "bands", 1), 2, BANDS)
    with pytest.raises(UserError, match="are for 8-bit RGB images; these are measurements"):
        degraded(dataset, "noise:5")


@pytest.mark.parametrize("suffix", [".ome.tif", ".zarr"])
def test_each_plane_of_a_stack_is_an_image(tmp_path, suffix):
    stack = slices(3)
    file = write_stack(tmp_path / f"cells{suffix}", stack)
    np.save(tmp_path / "flat.npy", stack[0])
    sources = folder_dataset(tmp_path, 2, COUNTS).sources
    titles = [f"cells{suffix}, plane {number}" for number in (1, 2, 3)]
    assert [source.title for source in sources] == [*titles, "flat.npy"]
    assert [source.stem for source in sources[1:]] == ["cells_plane2", "cells_plane3", "flat"]
    assert {source.name for source in sources[:3]} == {str(file)}
    for source, values in zip(sources, [*stack, stack[0]], strict=True):
        assert source.size == (16, 20)
        assert np.array_equal(read_pair(source, 2)[1][..., 0], values / 2)


@pytest.mark.parametrize("suffix", [".ome.tif", ".zarr"])
def test_stacks_of_pairs_match_plane_by_plane(tmp_path, suffix):
    hr, lr = slices(3), slices(3, 1, 8, 10)
    write_stack(tmp_path / f"HR/a{suffix}", hr)
    file = write_stack(tmp_path / f"LR/ax2{suffix}", lr)
    sources = folder_dataset(tmp_path, 2, COUNTS).sources
    assert len(sources) == 3
    for source, *expected in zip(sources, lr, hr, strict=True):
        for found, values in zip(read_pair(source, 2), expected, strict=True):
            assert np.array_equal(found[..., 0], values / 2)
    if suffix == ".ome.tif":
        write_stack(file, lr[:2])
        with pytest.raises(
            UserError, match=r"ax2\.ome\.tif: holds 2 planes; expected 3, as its HR"
        ):
            read_pair(sources[0], 2)


def test_packs_keep_which_plane_of_which_file_an_image_is(tmp_path):
    write_stack(tmp_path / "set/a.ome.tif", slices(2))
    (tmp_path / "c.json").write_text(
        '{"model": {"scale": 2, "channels": 1}, "data": {"value_range": [0, 510]}}'
    )
    run_command(
        "data",
        "pack",
        tmp_path / "set",
        "--output",
        tmp_path / "pack",
        "--config",
        tmp_path / "c.json",
    )
    packed = folder_dataset(tmp_path / "pack", 2, COUNTS)
    assert packed.files == [tmp_path / "pack/set/a.ome.tif"]
    assert [source.title for source in packed.sources] == [
        "a.ome.tif, plane 1",
        "a.ome.tif, plane 2",
    ]
    for source, values in zip(packed.sources, slices(2), strict=True):
        assert np.array_equal(read_pair(source, 2)[1][..., 0], values / 2)


def test_a_stack_stays_open_for_its_next_planes(tmp_path, monkeypatch):
    """Opening one may take much longer than reading a plane."""
    opened = []

    def counting(path):
        opened.append(path.name)
        return open_raster(path)

    monkeypatch.setattr("udl_tf.data.measurements.open_raster", counting)
    files = [write_stack(tmp_path / f"{index}.ome.tif", slices(3, index)) for index in range(3)]
    for index, file in enumerate(files):
        for plane in range(3):
            found, _ = read_measurement(file, plane, 3)
            assert np.array_equal(found[..., 0], slices(3, index)[plane])
    assert opened == [file.name for file in files]
    write_stack(files[2], slices(3, 7))
    os.utime(files[2], ns=(1, 1))  # changed, whatever the resolution of the clock
    assert np.array_equal(read_measurement(files[2], 1, 3)[0][..., 0], slices(3, 7)[1])
