"""udl-tf train and evaluate: bad input, and a run that diverges."""

import os
import shutil

import numpy as np
import pytest
from helpers.commands import assert_one_line_error, run_command, train_in
from helpers.images import noise_image

from udl_tf.imaging.rgb_files import write_rgb


# A network that diverged gives NaN, which no image can hold.
@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")
def test_a_diverging_run_stops_and_keeps_the_last_good_checkpoint(workplace):
    more = ["--set", "optimizer.name=sgd", "--set", "optimizer.learning_rate=1e30"]
    more += ["--set", "optimizer.ema=null", "--set", "training.interval=1"]
    result = train_in(workplace, "diverged", *more)
    assert_one_line_error(result, "update", "lower optimizer.learning_rate")
    assert not list((workplace / "diverged/weights").iterdir())
    file = workplace / "diverged/checkpoint.npz"
    if file.exists():
        content = np.load(file)
        assert all(np.isfinite(content[k]).all() for k in content.files if k != "progress")


def test_a_folder_with_other_files_is_not_changed(workplace):
    result = train_in(workplace, "train")
    assert_one_line_error(result, "is not empty and holds no run", "choose a new folder")


def test_an_output_that_is_a_file_is_one_line(workplace):
    result = train_in(workplace, "tiny.json")
    assert_one_line_error(result, "tiny.json: is a file; expected a new folder", "(--output)")
    assert_one_line_error(train_in(workplace, "tiny.json/below"), "below: Not a directory")


@pytest.mark.parametrize("run", ["new/below", "train"])
def test_a_run_folder_that_may_not_be_written_fails_before_data_are_read(
    workplace, run, monkeypatch
):
    existing = workplace if run == "new/below" else workplace / run
    monkeypatch.setattr(os, "access", lambda path, mode: path != existing)
    result = train_in(workplace, run, "--set", 'data.train=["/missing"]')
    assert_one_line_error(result, f"{existing}: no permission to write: choose", "(--output)")


def bad_data(folder, kind):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if kind == "missing":
        folder.rmdir()
        return
    if kind == "empty":
        return
    for index in range(6):
        write_rgb(folder / f"{index}.png", noise_image(48, 40, index))
    if kind == "truncated":
        content = (folder / "3.png").read_bytes()
        (folder / "3.png").write_bytes(content[: len(content) // 2])
    elif kind == "text":
        (folder / "3.png").write_text("not an image")
    elif kind == "tiny":
        write_rgb(folder / "3.png", noise_image(5, 5))
    elif kind == "wrong scale":
        for index in range(6):
            write_rgb(folder / "HR" / f"{index}.png", noise_image(48, 40, index))
            write_rgb(folder / "LR" / f"{index}.png", noise_image(16, 13, index))


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("truncated", ["3.png", "cannot be decoded"]),
        ("text", ["3.png", "not an image"]),
        ("empty", ["holds no image"]),
        ("missing", ["does not exist"]),
        ("tiny", ["3.png: 5x5 pixels", "small_images"]),
        ("wrong scale", ["13x16", "x2 needs 20x24"]),
    ],
)
def test_bad_data_fails_before_anything_is_written(workplace, kind, parts):
    folder = workplace / "bad"
    bad_data(folder, kind)
    result = train_in(workplace, "never", "--set", f'data.train=["{folder}"]')
    assert_one_line_error(result, *parts)
    assert not (workplace / "never").exists()


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("model.name=edsrs", ["model.name 'edsrs'", "nearest known: edsr"]),
        ("model.options.num_blokcs=3", ["num_blokcs", "num_blocks"]),
        ("steps.0.loss=esuu", ["steps.0.loss", "nearest known: esu"]),
        ("steps.0.loss=l1", ["steps.1.weighting.source", "use 'esu'"]),
        ("steps.0.loss_options.beta=1", ["steps.0.loss_options"]),
        ('distribution.strategy="mirrored"', ["no GPU not found"]),
        ('steps=[{"loss": "gram", "updates": 5}]', ["no theta below 77.3 grey levels", '"linear"']),
        ("steps.2.updates=1", ["steps has 2 entries", "(--set)"]),
        ("batch_size", ["expected KEY=VALUE", "(--set)"]),
    ],
)
def test_bad_settings_fail_before_anything_is_written(workplace, override, parts):
    result = train_in(workplace, "never", "--set", override)
    assert_one_line_error(result, *parts)
    assert not (workplace / "never").exists()


def test_evaluate_needs_a_trained_model(workplace):
    for model, part in ((workplace, "holds no trained model"), (workplace / "x", "no such file")):
        result = run_command("evaluate", "--model", model, "--data", workplace / "test")
        assert_one_line_error(result, part)
