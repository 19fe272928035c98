import json

import numpy as np
import pytest
from helpers.commands import assert_one_line_error, run_command
from helpers.images import make_pairs, noise_image
from helpers.measurements import slices, write_stack

from udl_tf.imaging.resize import imresize
from udl_tf.imaging.rgb_files import write_rgb

SIZES = ("--scale", 2, "--hr-patch-size", 24)


def check(*arguments):
    return run_command("data", "check", *arguments)


def test_check_lists_all_problems(tmp_path):
    folder = make_pairs(tmp_path / "set", 2, "LR", "")
    good = check(folder, *SIZES)
    assert good.returncode == 0
    assert good.stdout == "set (3 images): no problems\n"
    hr = noise_image(24, 36, 0)
    for name, image in (("copy", hr), ("small", hr[:8, :8]), ("mismatch", hr)):
        write_rgb(folder / f"HR/{name}.png", image)
        write_rgb(folder / f"LR/{name}.png", imresize(image, 1 / 2))
    write_rgb(folder / "LR/mismatch.png", noise_image(5, 7))
    (folder / "HR/text.png").write_text("no image")
    (folder / "LR/text.png").write_text("no image")
    write_rgb(folder / "LR/unpaired.png", noise_image(12, 18))
    write_rgb(folder / "HR/single.png", noise_image(24, 36, 9))
    result = check(folder, *SIZES)
    assert_one_line_error(result, "set (8 images): 6 problems: fix or remove")
    lines = result.stdout.splitlines()
    assert len(lines) == 6
    for part in (
        "small.png: 8x8 pixels, smaller than a patch of 24",
        "mismatch.png: 7x5",
        "text.png: not an image",
        "unpaired.png: has no HR image",
        "single.png: its LR file",
    ):
        assert any(part in line for line in lines), part
    assert any("0.png: the same pixels as" in line and "copy.png" in line for line in lines)
    assert_one_line_error(check(tmp_path / "none"), "does not exist")


def test_what_a_config_skips_is_no_problem(tmp_path):
    for index, size in enumerate([(24, 36), (24, 30), (16, 24), (20, 36)]):
        write_rgb(tmp_path / f"set/{index}.png", noise_image(*size, index))
    result = check(tmp_path / "set", *SIZES)
    assert_one_line_error(result, "set (4 images): 2 problems")
    expected = (
        f"skipped: 2 images smaller than a patch of 24, such as {tmp_path / 'set/2.png'}\n"
        "set (4 images): no problems\n"
    )
    skipping = check(tmp_path / "set", *SIZES, "--small-images", "skip")
    assert (skipping.returncode, skipping.stdout) == (0, expected)
    data = {"train": [str(tmp_path / "set")], "test": [], "hr_patch_size": 24}
    content = {"model": {"scale": 2}, "data": {**data, "small_images": "skip"}}
    (tmp_path / "c.json").write_text(json.dumps(content))
    by_config = check("--config", tmp_path / "c.json")
    assert (by_config.returncode, by_config.stdout) == (0, expected)
    overridden = check("--config", tmp_path / "c.json", "--set", "data.hr_patch_size=16")
    assert overridden.stdout == "set (4 images): no problems\n"


def test_what_is_not_read_is_named(tmp_path):
    folder = make_pairs(tmp_path / "set", 2, "LR/X2", "")
    write_rgb(folder / "HR/more/deep/0.png", noise_image(24, 24, 5))
    write_rgb(folder / "HR/more/1.gif", noise_image(24, 24, 5))  # a format that is only read
    write_rgb(folder / "valid_HR/0.png", noise_image(24, 24, 6))
    write_rgb(folder / "LR/X4/0.png", noise_image(6, 6))  # of another scale
    (folder / "empty").mkdir()
    (folder / "HR/0.exr").touch()
    result = check(folder, *SIZES)
    assert result.returncode == 0
    assert result.stdout.splitlines() == [
        f"not read: {folder}/HR: 1 files, such as 0.exr",
        f"not read: {folder}/valid_HR: a subfolder with 1 images",
        f"not read: {folder}/HR/more: a subfolder with 2 images",
        "set (3 images): no problems",
    ]


def test_a_test_image_among_the_training_images_is_a_problem(tmp_path):
    for index in range(3):
        write_rgb(tmp_path / f"train/{index}.png", noise_image(48, 48, index))
        write_rgb(tmp_path / f"test/{index}.png", noise_image(120, 140, 10 + index))
    write_rgb(tmp_path / "train/leak.jpg", imresize(noise_image(120, 140, 11), 0.75))
    result = check(tmp_path / "train", "--test", tmp_path / "test", *SIZES)
    assert_one_line_error(result, "train (4 images), test (3 images): 1 problems")
    (line,) = result.stdout.splitlines()
    assert "train/leak.jpg: shows the same as the test image" in line
    assert "test/1.png (correlation 0.9" in line


def test_planes_of_stacks_are_checked_as_a_config_reads_them(tmp_path):
    data = {"hr_patch_size": 16, "value_range": [0, 1000]}
    config = {"model": {"scale": 2, "channels": 1}, "data": data}
    (tmp_path / "c.json").write_text(json.dumps(config))
    stack, blank = slices(3), np.zeros((2, 16, 20), np.uint16)
    write_stack(tmp_path / "set/a.ome.tif", np.concatenate([stack, stack[:1], blank]))
    write_stack(tmp_path / "set/b.zarr", np.concatenate([slices(2, 1), blank]))
    write_stack(tmp_path / "set/below/c.zarr", slices(2, 2))
    np.save(tmp_path / "set/nodata.npy", np.full((16, 20), np.nan))
    check_it = ("data", "check", tmp_path / "set", "--config", tmp_path / "c.json")
    result = run_command(*check_it)
    assert result.stdout.splitlines() == [
        f"without data: 1 images, such as {tmp_path}/set/nodata.npy",
        f"not read: {tmp_path}/set/below: a subfolder with 1 images",
        "set (11 images): no problems",
    ]
    write_stack(tmp_path / "set/c.zarr", stack)  # a copy of planes
    write_stack(tmp_path / "test/0.ome.tif", slices(2, 1))
    (tmp_path / "set/d.ome.tif").write_bytes((tmp_path / "set/a.ome.tif").read_bytes()[:500])
    result = run_command(*check_it, "--test", tmp_path / "test")
    assert_one_line_error(result, "set (15 images), test (2 images): 3 problems")
    damaged, _, equal, leak, _ = result.stdout.splitlines()
    assert damaged.startswith(f"{tmp_path}/set/d.ome.tif: cannot be read")
    assert equal == f"{tmp_path}/set/a.ome.tif, plane 1: the same pixels as " + (
        f"{tmp_path}/set/c.zarr, plane 1"
    )
    assert leak.startswith(f"{tmp_path}/set/b.zarr, plane 1: shows the same as the test image")
    assert f"{tmp_path}/test/0.ome.tif, plane 1" in leak


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ((), "expected folders of training images, or --config CONFIG"),
        (("x", "--set", "a=1"), "expected folders of training images, or --config CONFIG"),
        (("x", "--hr-patch-size", 4), "data.hr_patch_size: got 4"),
        (("x", "--config", "edsr_s_x4", "--scale", 2), "--scale 2: the config states it"),
        (
            ("x", "--config", "edsr_s_x4", "--small-images", "skip"),
            "--small-images skip: the config states it: omit --small-images",
        ),
    ],
)
def test_wrong_options_are_one_line(arguments, part):
    assert_one_line_error(check(*arguments), part)
