"""udl-tf evaluate: where results are written."""

import argparse
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import assert_one_line_error, run_command
from helpers.models import make_run

from udl_tf.evaluate import _default_output

TINY = {"num_blocks": 1, "num_filters": 4}


@pytest.fixture
def run(transparent_run, tmp_path):
    """A run folder with the bundle of a running step."""
    run = shutil.copytree(transparent_run, tmp_path / "run")
    (run / "config.json").write_text("{}")
    shutil.copytree(transparent_run, run / "running")
    return run


def output_of(model, degrade=None, consistent=False, self_ensemble=False):
    options = argparse.Namespace(
        model=str(model), degrade=degrade, consistent=consistent, self_ensemble=self_ensemble
    )
    return _default_output(options)


def test_results_have_a_place_that_lasts_and_depends_on_the_degradation(run, tmp_path):
    assert output_of(run) == run / "evaluation"
    assert output_of(run, "jpeg:75") == run / "evaluation_jpeg_75"
    assert output_of(run, "blur:1.2+noise:5") == run / "evaluation_blur_1.2_noise_5"
    assert output_of(run, consistent=True) == run / "evaluation_consistent"
    assert output_of(run, self_ensemble=True) == run / "evaluation_self_ensemble"
    # The run deletes `running` when its step has finished.
    assert output_of(run / "running") == run / "evaluation_running"
    assert output_of(run / "running", "jpeg:75") == run / "evaluation_jpeg_75_running"
    copy = shutil.copytree(run / "running", tmp_path / "other" / "running")
    assert output_of(copy) == copy / "evaluation"
    assert output_of("edsr_s_x4", "jpeg:75") == Path("evaluation_jpeg_75/edsr_s_x4")
    # Hubs' caches, and addresses, are no places for results.
    assert output_of("hf://someone/bird@v1") == Path("evaluation/bird@v1")
    assert output_of("grpc://host:8500/bird/2", "jpeg:75") == Path("evaluation_jpeg_75/bird_2")
    assert output_of("a/model.onnx", "jpeg:75") == Path("a/model.onnx_evaluation_jpeg_75")


def test_results_on_other_images_are_not_replaced(run, image_folder, tmp_path):
    """The second evaluation replaced the first."""
    other = shutil.copytree(image_folder, tmp_path / "other")
    arguments = ("--model", run, "--figures", 0, "--data")
    assert run_command("evaluate", *arguments, image_folder).returncode == 0
    content = (run / "evaluation/results.md").read_text()
    result = run_command("evaluate", *arguments, other)
    assert_one_line_error(
        result,
        f"{run}/evaluation: holds results on other images, images (6 images): choose another"
        " output, or remove it (--output)",
    )
    (image_folder / "image5.png").unlink()
    assert_one_line_error(run_command("evaluate", *arguments, image_folder), "on other images")
    assert (run / "evaluation/results.md").read_text() == content
    for output in (tmp_path / "out", run / "evaluation"):
        assert run_command("evaluate", *arguments, other, "--output", output).returncode == 0
    assert run_command("evaluate", *arguments, other).returncode == 0  # the same again


def test_a_degraded_evaluation_leaves_the_clean_one(run, image_folder):
    arguments = ("--model", run / "running", "--data", image_folder, "--figures", 0)
    assert run_command("evaluate", *arguments).returncode == 0
    clean = (run / "evaluation_running/results.md").read_text()
    assert run_command("evaluate", *arguments, "--degrade", "jpeg:75").returncode == 0
    assert (run / "evaluation_running/results.md").read_text() == clean
    assert "jpeg" in (run / "evaluation_jpeg_75_running/results.md").read_text()


def test_what_does_not_fit_the_channels_of_the_model_is_refused_in_one_line(tmp_path):
    """Other channels, or another value range, beside it gave a traceback or wrong rows."""
    value_range = (0.0, 4000.0)
    four, wide, one = (
        make_run(tmp_path / name, "edsr_s", 2, channels=channels, value_range=values, **TINY)
        for name, channels, values in (
            ("four", 4, value_range),
            ("wide", 4, (0.0, 10000.0)),
            ("one", 1, value_range),
        )
    )
    images = tmp_path / "images"
    images.mkdir()
    np.save(images / "a.npy", np.zeros((16, 16, 4), np.uint16))
    arguments = ("evaluate", "--model", four, "--data", images)
    assert_one_line_error(
        run_command(*arguments, "--bands", 4, 5, 0),
        "bands [4, 5, 0]: expected three numbers in 1..4, the channels of the model",
    )
    for other in (wide, one):
        assert_one_line_error(
            run_command(*arguments, "--beside", other),
            f"--beside {other.name}: has other channels or another value range than {four}",
        )
