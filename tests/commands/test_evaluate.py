"""udl-tf evaluate: where results are written."""

import argparse
import shutil
from pathlib import Path

import pytest
from helpers.commands import assert_one_line_error, run_command

from udl_tf.evaluate import _default_output


@pytest.fixture
def run(transparent_run, tmp_path):
    """A run folder with the bundle of a running step."""
    run = shutil.copytree(transparent_run, tmp_path / "run")
    (run / "config.json").write_text("{}")
    shutil.copytree(transparent_run, run / "running")
    return run


def output_of(model, degrade=None, consistent=False):
    options = argparse.Namespace(model=str(model), degrade=degrade, consistent=consistent)
    return _default_output(options)


def test_results_have_a_place_that_lasts_and_depends_on_the_degradation(run, tmp_path):
    assert output_of(run) == run / "evaluation"
    assert output_of(run, "jpeg:75") == run / "evaluation_jpeg_75"
    assert output_of(run, "blur:1.2+noise:5") == run / "evaluation_blur_1.2_noise_5"
    assert output_of(run, consistent=True) == run / "evaluation_consistent"
    # The run deletes `running` when its step has finished.
    assert output_of(run / "running") == run / "evaluation_running"
    assert output_of(run / "running", "jpeg:75") == run / "evaluation_jpeg_75_running"
    copy = shutil.copytree(run / "running", tmp_path / "other" / "running")
    assert output_of(copy) == copy / "evaluation"
    assert output_of("edsr_s_x4", "jpeg:75") == Path("evaluation_jpeg_75/edsr_s_x4")
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
