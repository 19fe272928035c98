"""udl-tf calibrate: the stored calibration, its report, bad options."""

import json
import shutil
from unittest.mock import Mock

import numpy as np
import pytest
from helpers.commands import assert_one_line_error, run_command

import udl_tf
from udl_tf import calibrate
from udl_tf.evaluation import theta_report
from udl_tf.hub import presets


@pytest.fixture
def run(transparent_run, tmp_path):
    return shutil.copytree(transparent_run, tmp_path / "run")


def test_the_calibration_is_stored_in_the_model_and_evaluated(run, image_folder, tmp_path):
    other = shutil.copytree(image_folder, tmp_path / "other")
    before = udl_tf.load(run)
    result = run_command("calibrate", "--model", run, "--data", image_folder, "--test", other)
    assert result.returncode == 0, result.stderr
    assert "Fitted on images (6 images)" in result.stdout
    assert f"the calibration is stored in {run}" in result.stdout
    model, lr = udl_tf.load(run), np.full((4, 4, 3), (97, 98, 99), np.uint8)
    assert model.calibration.images == 6
    expected = before.upscale(lr).theta * np.exp(model.calibration.a)
    assert np.allclose(model.upscale(lr).theta, expected, rtol=1e-5)
    report = json.loads((run / "calibration/report.json").read_text())
    assert [part["dataset"] for part in report["sets"]] == ["images", "other"]
    assert set(report["sets"][0]["ranking"]) == {
        "theta", "perfect Laplace", "gradient of bicubic", "self-ensemble spread"}  # fmt: skip

    content = (run / "model.json").read_text()
    arguments = ("--output", tmp_path / "report", "--no-baselines")
    result = run_command("calibrate", "--model", run, "--test", other, *arguments)
    assert result.returncode == 0, result.stderr
    assert "is stored in" not in result.stdout
    assert (run / "model.json").read_text() == content
    again = json.loads((tmp_path / "report/report.json").read_text())["sets"][0]
    assert again["coverage"] == report["sets"][1]["coverage"]


def test_a_calibration_for_consistent_results_says_so_and_upscale_names_another_use(
    run, image_folder, tmp_path
):
    arguments = ("--data", image_folder, "--consistent", "--no-baselines")
    result = run_command("calibrate", "--model", run, *arguments)
    assert result.returncode == 0, result.stderr
    assert "Fitted on images (6 images), consistent results" in result.stdout
    assert "## images, consistent results: 6 images" in result.stdout
    assert udl_tf.load(run).calibration.consistent
    command = ("upscale", image_folder / "image0.png", "--model", run)
    result = run_command(*command, "--output", tmp_path / "out")
    assert "theta is calibrated for results with --consistent" in result.stdout


def test_the_working_folder_is_named_and_a_report_that_fails_changes_nothing(
    run, image_folder, monkeypatch
):
    """The report of the images in . failed, after the calibration had been stored."""
    content = (run / "model.json").read_text()
    arguments = ("calibrate", "--model", run, "--data", ".", "--no-baselines")
    with monkeypatch.context() as patched:
        error = OSError(28, "No space left on device")
        patched.setattr(theta_report, "calibration_figure", Mock(side_effect=error))
        assert_one_line_error(run_command(*arguments, cwd=image_folder), "No space left on device")
    assert (run / "model.json").read_text() == content
    result = run_command(*arguments, cwd=image_folder)
    assert result.returncode == 0, result.stderr
    assert udl_tf.load(run).calibration.data == "images (6 images)"
    assert (run / "calibration/images.png").exists()


def test_calibration_on_degraded_images_says_so(run, image_folder):
    arguments = ("--data", image_folder, "--degrade", "noise:5+jpeg:75", "--no-baselines")
    result = run_command("calibrate", "--model", run, *arguments)
    assert result.returncode == 0, result.stderr
    text = "degraded by noise:5 + jpeg:75"
    assert udl_tf.load(run).calibration.data == f"images (6 images), {text}"
    assert f"## images, {text}: 6 images, each assessed" in result.stdout
    assert (run / "calibration/images_degraded_by_noise_5_jpeg_75.png").exists()


def test_a_model_is_calibrated_on_images_like_those_of_its_training(run, image_folder):
    manifest = json.loads((run / "model.json").read_text())
    operation = {"kind": "jpeg", "probability": 0.5, "quality": [30, 90], "subsampling": ["4:4:4"]}
    manifest["training"]["data"] = {"degradations": [operation]}
    (run / "model.json").write_text(json.dumps(manifest))
    arguments = ("--data", image_folder, "--degrade", "training", "--no-baselines")
    result = run_command("calibrate", "--model", run, *arguments)
    assert result.returncode == 0, result.stderr
    text = "images (6 images), degraded by jpeg:30..90 on 50 %"
    assert udl_tf.load(run).calibration.data == text


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "nothing to do: give --data"),
        (["--test", "."], "not calibrated yet: give --data"),
        (["--test", ".", "--conformal", "0.1,0.1"], "--conformal fits intervals on --data"),
        (["--data", ".", "--conformal", "a"], "--conformal a: expected ALPHA,DELTA"),
        (
            ["--data", "udl_tf/data/bundled/test", "--conformal", "2,0.1"],
            "conformal 2,0.1: expected two numbers",
        ),
        (["--data", "gone"], "gone: does not exist"),
        (["--data", "udl_tf/data/bundled/test", "--degrade", "jpeg"], "'jpeg' has strength ''"),
        (["--data", "udl_tf/data/bundled/test", "--degrade", "training"], "without degradations"),
    ],
)
def test_bad_options_are_one_line(run, arguments, part):
    content = (run / "model.json").read_text()
    assert_one_line_error(run_command("calibrate", "--model", run, *arguments), part)
    assert (run / "model.json").read_text() == content


def test_presets_of_hubs_are_read_only(image_folder, monkeypatch):
    """The calibration was stored in the hub's cache."""
    handle, folder = "hf://someone/bird", presets.FOLDER / "light_x4"
    monkeypatch.setattr(presets, "fetch", lambda handle: folder)
    for arguments in (["--data", image_folder], ["--test", image_folder]):
        assert_one_line_error(
            run_command("calibrate", "--model", handle, *arguments),
            f"{handle}: presets are read-only: give --test and --output",
            f"calibrate a copy of {folder}",
        )


def test_too_few_images_for_a_guarantee_change_nothing(run, image_folder):
    content = (run / "model.json").read_text()
    result = run_command(
        "calibrate", "--model", run, "--data", image_folder, "--conformal", "0.1,0.1"
    )
    assert_one_line_error(result, "6 distinct images are too few", "give at least 50")
    assert (run / "model.json").read_text() == content


def test_a_calibration_on_more_images_is_kept_unless_the_option_allows_to_replace_it(
    run, image_folder
):
    """Three images replaced the calibration of a training run."""
    command = ("calibrate", "--model", run, "--no-baselines", "--data", image_folder)
    assert run_command(*command).returncode == 0
    assert run_command(*command).returncode == 0  # as many images
    content = (run / "model.json").read_text()
    for index in range(3):
        (image_folder / f"image{index}.png").unlink()
    assert_one_line_error(
        run_command(*command),
        f"{run}: is calibrated on images (6 images); --data has 3 images: give at least 6, or"
        " allow the calibration to be replaced (--overwrite)",
    )
    assert (run / "model.json").read_text() == content
    assert run_command(*command, "--overwrite").returncode == 0
    assert udl_tf.load(run).calibration.images == 3


def test_the_bundle_of_a_running_step_is_not_calibrated(run, image_folder, tmp_path):
    """It is replaced at the next checkpoint, and deleted in the end."""
    running = shutil.copytree(run, run / "running")
    (run / "config.json").write_text("{}")
    content = (running / "model.json").read_text()
    for option in ("--data", "--test"):
        result = run_command("calibrate", "--model", running, option, image_folder)
        assert_one_line_error(
            result, "running: is replaced and deleted by its run: calibrate a copy"
        )
    assert (running / "model.json").read_text() == content
    copy = shutil.copytree(running, tmp_path / "copy")
    arguments = ("--data", image_folder, "--no-baselines")
    assert run_command("calibrate", "--model", copy, *arguments).returncode == 0


def test_a_model_that_changes_meanwhile_keeps_its_content(run, image_folder, monkeypatch):
    def measure_and_replace(*arguments):
        samples = measure(*arguments)
        content = json.loads((run / "model.json").read_text())
        (run / "model.json").write_text(json.dumps({**content, "licence": "new"}))
        return samples

    measure = calibrate._measure
    monkeypatch.setattr(calibrate, "_measure", measure_and_replace)
    arguments = ("--data", image_folder, "--no-baselines")
    result = run_command("calibrate", "--model", run, *arguments)
    assert_one_line_error(result, "has changed in the meantime: calibrate it again")
    assert json.loads((run / "model.json").read_text())["licence"] == "new"


def test_an_assessment_on_degraded_images_has_a_folder_of_its_own(run, image_folder):
    arguments = ("--data", image_folder, "--no-baselines")
    assert run_command("calibrate", "--model", run, *arguments).returncode == 0
    arguments = ("--test", image_folder, "--no-baselines", "--degrade", "jpeg:75")
    assert run_command("calibrate", "--model", run, *arguments).returncode == 0
    assert (run / "calibration_test_jpeg_75/report.md").exists()
    assert not (run / "calibration_test").exists()
