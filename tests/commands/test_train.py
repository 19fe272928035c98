"""udl-tf train and evaluate: the run folder, resuming, stopping."""

import json
import logging
import re
import signal

import h5py
import numpy as np
import pytest
from helpers.commands import (
    assert_one_line_error,
    run_command,
    run_process,
    train_in,
    train_options,
)
from helpers.with_signal import SignalAt


@pytest.fixture(scope="module")
def finished(workplace):
    """A run that was not interrupted, and the outcome of its command."""
    result = train_in(workplace, "undisturbed")
    assert result.returncode == 0, result.stderr
    return workplace / "undisturbed", result


def weights(run):
    found = {}
    for file in sorted((run / "weights").glob("*.h5")):
        with h5py.File(file) as content:
            content.visititems(
                lambda name, item, file=file: (
                    found.__setitem__((file.name, name), np.array(item))
                    if isinstance(item, h5py.Dataset)
                    else None
                )
            )
    assert found
    return found


def step_notes(run):
    return json.loads((run / "metrics.json").read_text())["steps"]


def test_a_run_folder_holds_everything(finished):
    run, result = finished
    for name in ("config.json", "versions.json", "model.json", "log.txt", "results.md"):
        assert (run / name).stat().st_size > 0
    names = ["step1-esu.weights.h5", "step2-udl.weights.h5"]
    for folder in (run / "weights", run / "weights/fused"):  # as trained, and without branches
        assert sorted(p.name for p in folder.glob("*.h5")) == names
    assert (run / "figures/test_0.png").stat().st_size > 10_000
    assert not (run / "checkpoint.npz").exists()
    assert not (run / "running").exists()
    metrics = json.loads((run / "metrics.json").read_text())
    (row,) = metrics["results"]
    keys = {"dataset", "scale", "images", "psnr_y", "ssim_y", "bicubic_psnr_y", "bicubic_ssim_y"}
    assert keys <= set(row)
    assert (row["dataset"], row["scale"], row["images"]) == ("test", 2, 2)
    assert [s["updates"] for s in metrics["steps"]] == [40, 40]
    assert "bicubic" in result.stderr
    assert "patches/s" in result.stderr
    # A single image, which may be nearly flat, is named beside its PSNR.
    assert re.search(r"^validation on \d\.png at update 40: PSNR-Y ", result.stderr, re.MULTILINE)
    assert (run / "results.md").read_text().startswith("| PSNR-Y dB / SSIM-Y | test ×2 (2)")


def test_a_run_calibrates_theta_on_held_out_images(finished):
    run, _ = finished
    calibration = json.loads((run / "model.json").read_text())["calibration"]
    number, text = calibration["images"], "noise:0..4 on 50 % + jpeg:70..95 on 80 %"
    assert calibration["data"] == f"{number} held-out training images, degraded by {text}"
    report = json.loads((run / "calibration/report.json").read_text())
    assert report["calibration"] == calibration
    (held_out,) = report["sets"]
    assert held_out["nll"]["calibrated"] < held_out["nll"]["as trained"]
    assert (run / "calibration/held-out_training_images.png").stat().st_size > 10_000


def test_a_run_states_its_degradations(finished):
    run, result = finished
    text = "LR images degraded by noise:0..4 on 50 % + jpeg:70..95 on 80 %"
    data = json.loads((run / "model.json").read_text())["training"]["data"]
    assert text in data["text"]
    config = json.loads((run / "config.json").read_text())
    assert data["degradations"] == config["data"]["degradations"]
    assert text in (run / "results.md").read_text()
    assert text in result.stderr
    (row,) = json.loads((run / "metrics.json").read_text())["results"]
    assert "degrade" not in row  # the test set stays clean


def test_tensorboard_shows_training_and_validation(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run, _ = finished
    for step, before in (("step1-esu", 0), ("step2-udl", 40)):
        loss = f"train/loss/{step}"
        sizes = {"scalars": 0, "images": 0}
        events = EventAccumulator(str(run / "tensorboard" / step), size_guidance=sizes)
        events.Reload()
        expected = {loss, "train/learning_rate", "train/patches_per_second"}
        expected |= {"train/share_of_time_waiting_for_data"}
        expected |= {"validation/psnr_y", "validation/ssim_y"}
        expected |= {"validation/s_min", "validation/s_mean", "validation/s_max"}
        assert set(events.Tags()["scalars"]) == expected
        updates = list(range(before + 1, before + 41))  # log_every is 1
        for tag in (loss, "train/learning_rate", "train/patches_per_second"):
            assert [e.step for e in events.Scalars(tag)] == updates
        assert events.Tags()["images"] == ["validation/row"]
        rows = events.Images("validation/row")
        assert [e.step - before for e in rows] == [10, 20, 30, 40]
        # Four images of 40x48 and theta with its wider scale, below titles; the text has 10 pixels.
        assert rows[0].width > 5 * 40
        assert rows[0].height == 20 + 48 + 35


def train_killed_at(workplace, run, pattern):
    number = int(signal.SIGKILL)
    result = run_process("helpers.with_signal", number, pattern, *train_options(workplace, run))
    assert result.returncode == -number, result.stderr
    return result


def train_stopped_at(workplace, run, pattern):
    stop = SignalAt(pattern, signal.SIGINT)
    logging.getLogger("udl_tf").addHandler(stop)
    try:
        return train_in(workplace, run)
    finally:
        logging.getLogger("udl_tf").removeHandler(stop)


@pytest.mark.slow
def test_killed_stopped_and_resumed_equals_undisturbed_to_the_bit(workplace, finished):
    """Killed in either step, then stopped by Ctrl-C, which saves and says how to resume."""
    run = workplace / "disturbed"
    train_killed_at(workplace, run, r"step 1/2 esu .* 13/40")
    result = train_killed_at(workplace, run, r"step 2/2 udl .* 27/40")
    assert re.search(r"step 1/2 esu:? resumes after update 10 of 40", result.stderr)
    result = train_stopped_at(workplace, run, r"step 2/2 udl .* 33/40")
    assert re.search(r"step 2/2 udl:? resumes after update 20 of 40", result.stderr)
    assert result.returncode == 130
    last = result.stderr.rstrip().splitlines()[-1]
    assert "stopped after update 33 of step 2/2 udl" in last
    assert "run the same command again to resume" in last
    result = train_in(workplace, run)
    assert result.returncode == 0, result.stderr
    assert re.search(r"step 2/2 udl:? resumes after update 33 of 40", result.stderr)
    notes = zip(step_notes(run), step_notes(finished[0]), strict=True)
    assert all(note["validation"] == undisturbed["validation"] for note, undisturbed in notes)
    expected, got = weights(finished[0]), weights(run)
    assert expected.keys() == got.keys()
    for key, value in expected.items():
        assert np.array_equal(value, got[key]), key


def test_a_run_folder_of_another_config_is_not_changed(workplace, finished):
    before = weights(finished[0])
    result = train_in(workplace, "undisturbed", "--set", "optimizer.learning_rate=2e-3")
    assert_one_line_error(
        result, "another config", "learning_rate was 0.001 and is now 0.002", "(--output)"
    )
    after = weights(finished[0])
    assert all(np.array_equal(value, after[key]) for key, value in before.items())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "loss_options", "precision"),
    [
        ("mse", {}, "mixed_bfloat16"),
        ("eu", {}, "mixed_float16"),
        ("gram", {"unit": 1.0, "power": 1.0}, "float32"),
    ],
)
def test_single_step_runs_of_every_loss_and_precision(workplace, loss, loss_options, precision):
    step = [{"loss": loss, "loss_options": loss_options, "updates": 5}]
    more = ["--set", f"steps={json.dumps(step)}", "--set", f"training.precision={precision}"]
    more += ["--set", "training.interval=2", "--set", "evaluation.figures=0"]
    more += ["--set", "optimizer.name=adam", "--set", "optimizer.clip_norm=10"]
    result = train_in(workplace, loss, *more)
    assert result.returncode == 0, result.stderr
    manifest = json.loads((workplace / loss / "model.json").read_text())
    if loss == "mse":
        assert manifest["uncertainty"] is None
        assert manifest["calibration"] is None
        assert not (workplace / loss / "calibration").exists()
    else:
        unit, power = loss_options.get("unit", 1.0), loss_options.get("power", 1.0)
        uncertainty = manifest["uncertainty"]
        assert (uncertainty["unit"], uncertainty["power"]) == (unit, power)


@pytest.mark.slow
def test_a_mirrored_run_gives_the_result_of_a_single_one(workplace):
    # Without clip_norm, which acts on each replica's gradient before the sum.
    short = ["--set", 'steps=[{"loss": "l1", "updates": 20}]', "--set", "evaluation.figures=0"]
    alone = train_in(workplace, "single", *short)
    strategy = '{"strategy": "mirrored", "devices": ["CPU:0", "CPU:1"]}'
    result = run_process(  # logical devices have to be set up before TensorFlow runs
        "udl_tf.train",
        *train_options(workplace, "mirrored", *short, "--set", f"distribution={strategy}"),
    )
    assert result.returncode == 0, result.stderr
    assert "device: CPU:0 + CPU:1" in result.stderr
    assert "device: CPU:0 + CPU:1" not in alone.stderr
    (row,), (single,) = (
        json.loads((workplace / run / "metrics.json").read_text())["results"]
        for run in ("mirrored", "single")
    )
    assert row["psnr_y"] == pytest.approx(single["psnr_y"], abs=0.02)


def test_evaluate_gives_the_numbers_of_the_run(workplace, finished):
    run, _ = finished
    output = workplace / "evaluated"
    arguments = ["--model", run, "--data", workplace / "test", "--output", output]
    result = run_command("evaluate", *arguments)
    assert result.returncode == 0, result.stderr
    (row,) = json.loads((output / "results.json").read_text())["results"]
    (trained,) = json.loads((run / "metrics.json").read_text())["results"]
    assert row == trained
    assert len(row["per_image"]) == 2
    assert (output / "results.md").read_text() in result.stdout
    assert len(list((output / "figures").iterdir())) == 2


def test_evaluate_degrades_test_images(workplace, finished):
    run, _ = finished
    arguments = ["--model", run, "--data", workplace / "test", "--figures", 0]
    rows = []
    for name in ("degraded", "again"):
        more = ["--output", workplace / name, "--degrade", "noise:10+jpeg:40"]
        result = run_command("evaluate", *arguments, *more)
        assert result.returncode == 0, result.stderr
        assert "PSNR-Y dB / SSIM-Y, LR degraded by noise:10 + jpeg:40" in result.stdout
        rows += json.loads((workplace / name / "results.json").read_text())["results"]
    assert rows[0] == rows[1]
    assert rows[0]["degrade"] == "noise:10 + jpeg:40"
    (clean,) = json.loads((run / "metrics.json").read_text())["results"]
    assert rows[0]["bicubic_psnr_y"] < clean["bicubic_psnr_y"] - 0.5
    assert rows[0]["psnr_y"] != clean["psnr_y"]  # an untrained network: in either direction
    result = run_command("evaluate", *arguments, "--degrade", "jpg:40")
    assert_one_line_error(result, "'jpg' is unknown, nearest known: jpeg", "(--degrade)")
