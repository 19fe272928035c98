"""The train and evaluate commands as processes: resume, stopping, bad input, the run folder."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
from helpers.commands import ROOT, assert_one_line_error, run_command
from helpers.images import noise_image

from udl_tf.imaging.rgb_files import write_rgb

TINY = {
    "model": {"name": "edsr_s", "scale": 2, "options": {"num_blocks": 1, "num_filters": 8}},
    "data": {"hr_patch_size": 16, "batch_size": 2, "test": ["bundled"]},
    "optimizer": {
        "name": "muon",
        "learning_rate": 1e-3,
        "schedule": "cosine",
        "ema": 0.9,
        "clip_norm": 10.0,
    },
    "steps": [
        {"loss": "esu", "updates": 150},
        {"loss": "udl", "updates": 150, "weighting": {"floor": 1.0}},
    ],
    "training": {"precision": "float32", "interval": 20, "log_every": 1},
    "evaluation": {"figures": 1},
}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with training images, test images, a cache and a config that uses them."""
    folder = tmp_path_factory.mktemp("work")
    for name, count in (("train", 6), ("test", 2)):
        for index in range(count):
            write_rgb(folder / name / f"{index}.png", noise_image(48, 40, index))
    config = json.loads(json.dumps(TINY))
    config["data"] |= {"train": [str(folder / "train")], "test": [str(folder / "test")]}
    config["data"]["cache_dir"] = str(folder / "cache")
    (folder / "tiny.json").write_text(json.dumps(config))
    return folder


def command(workplace, run, *more):
    return ["--config", workplace / "tiny.json", "--run-dir", workplace / run, *more]


@pytest.fixture(scope="module")
def finished(workplace):
    """A run that nobody disturbed."""
    result = run_command("train", *command(workplace, "straight"))
    assert result.returncode == 0, result.stderr
    return workplace / "straight", result


def weights(run):
    found = {}
    for file in sorted((run / "weights").iterdir()):
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


def start_and_signal(workplace, run, step, update, number):
    """Starts a training process and sends it a signal once `update` of `step` is logged."""
    process = subprocess.Popen(
        [sys.executable, "-m", "udl_tf.train", *map(str, command(workplace, run))],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = workplace / run / "log.txt"
    awaited = f"{step} "
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        lines = log.read_text().splitlines() if log.exists() else []
        if any(awaited in line and f" {update}/150" in line for line in lines):
            break
        time.sleep(0.005)
    assert process.poll() is None, process.communicate()
    os.kill(process.pid, number)
    output = process.communicate(timeout=100)
    return process.returncode, output[1]


def test_a_run_folder_holds_everything(finished):
    run, result = finished
    for name in ("config.json", "versions.json", "model.json", "log.txt", "results.md"):
        assert (run / name).stat().st_size > 0
    assert sorted(p.name for p in (run / "weights").iterdir()) == [
        "step1-esu.weights.h5", "step2-udl.weights.h5",
    ]  # fmt: skip
    assert (run / "figures/test_0.png").stat().st_size > 10_000
    assert not (run / "checkpoint.npz").exists()
    metrics = json.loads((run / "metrics.json").read_text())
    (row,) = metrics["results"]
    keys = {"dataset", "scale", "images", "psnr_y", "ssim_y", "bicubic_psnr_y", "bicubic_ssim_y"}
    assert keys <= set(row)
    assert (row["dataset"], row["scale"], row["images"]) == ("test", 2, 2)
    assert [s["updates"] for s in metrics["steps"]] == [150, 150]
    assert "bicubic" in result.stderr
    assert "patches/s" in result.stderr
    assert (run / "results.md").read_text().startswith("| PSNR-Y dB / SSIM-Y | test ×2 (2)")


def test_a_run_ends_with_a_calibration_on_its_held_out_images(finished):
    run, _ = finished
    calibration = json.loads((run / "model.json").read_text())["calibration"]
    assert calibration["data"] == f"{calibration['images']} held-out training images"
    report = json.loads((run / "calibration/report.json").read_text())
    assert report["calibration"] == calibration
    (judged,) = report["sets"]
    assert judged["nll"]["calibrated"] < judged["nll"]["as trained"]
    assert (run / "calibration/held-out_training_images.png").stat().st_size > 10_000


def test_tensorboard_holds_what_a_person_looks_for(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run, _ = finished
    for step, with_s in (("step1-esu", True), ("step2-udl", True)):
        events = EventAccumulator(str(run / "tensorboard" / step), size_guidance={"tensors": 0})
        events.Reload()
        tags = set(events.Tags()["tensors"])
        wanted = {"train/loss", "train/learning_rate", "train/patches_per_second"}
        wanted |= {"validation/psnr_y", "validation/ssim_y", "validation/row"}
        wanted |= {"validation/s_min", "validation/s_mean", "validation/s_max"} if with_s else set()
        assert wanted <= tags
        assert [e.step for e in events.Tensors("train/loss")] == list(range(1, 151))
        assert [e.step for e in events.Tensors("validation/row")] == [*range(20, 150, 20), 150]


@pytest.mark.parametrize(("step", "update"), [("step 1/2 esu", 47), ("step 2/2 udl", 75)])
def test_killed_and_resumed_equals_undisturbed_to_the_bit(workplace, finished, step, update):
    name = f"killed-{update}"
    code, _ = start_and_signal(workplace, name, step, update, signal.SIGKILL)
    assert code == -signal.SIGKILL
    result = run_command("train", *command(workplace, name))
    assert result.returncode == 0, result.stderr
    assert f"{step} goes on after update" in result.stderr
    notes = json.loads((workplace / name / "metrics.json").read_text())
    for note, undisturbed in zip(
        notes["steps"], json.loads((finished[0] / "metrics.json").read_text())["steps"], strict=True
    ):
        assert note["validation"] == undisturbed["validation"]
    expected, got = weights(finished[0]), weights(workplace / name)
    assert expected.keys() == got.keys()
    for key, value in expected.items():
        assert np.array_equal(value, got[key]), key


def test_ctrl_c_saves_and_says_how_to_go_on(workplace, finished):
    code, stderr = start_and_signal(workplace, "stopped", "step 1/2 esu", 33, signal.SIGINT)
    assert code == 130
    assert "Traceback" not in stderr
    last = stderr.rstrip().splitlines()[-1]
    assert "stopped after update" in last
    assert "the same command goes on from there" in last
    result = run_command("train", *command(workplace, "stopped"))
    assert result.returncode == 0, result.stderr
    expected, got = weights(finished[0]), weights(workplace / "stopped")
    assert all(np.array_equal(value, got[key]) for key, value in expected.items())


def test_a_diverging_run_stops_and_keeps_the_last_good_checkpoint(workplace):
    more = ["--set", "optimizer.name=sgd", "--set", "optimizer.learning_rate=1e30"]
    more += ["--set", "optimizer.clip_norm=null", "--set", "training.interval=1"]
    more += ["--set", "optimizer.ema=null"]
    result = run_command("train", *command(workplace, "diverged", *more))
    assert_one_line_error(result, "update", "what was saved before is kept")
    assert not list((workplace / "diverged/weights").iterdir())
    file = workplace / "diverged/checkpoint.npz"
    if file.exists():
        content = np.load(file)
        assert all(np.isfinite(content[k]).all() for k in content.files if k != "progress")


def test_a_run_folder_of_another_config_is_left_alone(workplace, finished):
    before = weights(finished[0])
    more = ["--set", "optimizer.learning_rate=2e-3"]
    result = run_command("train", *command(workplace, "straight", *more))
    assert_one_line_error(result, "another config", "optimizer.learning_rate is 0.001", "0.002")
    after = weights(finished[0])
    assert all(np.array_equal(value, after[key]) for key, value in before.items())


def test_a_folder_with_other_things_is_left_alone(workplace):
    result = run_command("train", *command(workplace, "train"))
    assert_one_line_error(result, "is not empty and holds no run", "choose another one")


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
        (folder / "3.png").write_text("no picture")
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
def test_bad_data_ends_before_anything_is_written(workplace, kind, parts):
    folder = workplace / "bad"
    bad_data(folder, kind)
    more = ["--set", f'data.train=["{folder}"]']
    result = run_command("train", *command(workplace, "never", *more))
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
    ],
)
def test_bad_settings_end_before_anything_is_written(workplace, override, parts):
    result = run_command("train", *command(workplace, "never", "--set", override))
    assert_one_line_error(result, *parts)
    assert not (workplace / "never").exists()


@pytest.mark.parametrize(
    ("loss", "options", "precision"),
    [
        ("l1", {}, "float32"),
        ("mse", {}, "mixed_bfloat16"),
        ("eu", {}, "mixed_float16"),
        ("gram", {"unit": 1.0, "power": 1.0}, "float32"),
    ],
)
def test_single_step_runs_of_every_loss_and_precision(workplace, loss, options, precision):
    step = [{"loss": loss, "loss_options": options, "updates": 5}]
    more = ["--set", f"steps={json.dumps(step)}", "--set", f"training.precision={precision}"]
    more += ["--set", "training.interval=2", "--set", "evaluation.figures=0"]
    result = run_command("train", *command(workplace, loss, *more))
    assert result.returncode == 0, result.stderr
    manifest = json.loads((workplace / loss / "model.json").read_text())
    if loss in ("l1", "mse"):
        assert manifest["uncertainty"] is None
        assert manifest["calibration"] is None
        assert not (workplace / loss / "calibration").exists()
    else:
        unit, power = options.get("unit", 1.0), options.get("power", 1.0)
        uncertainty = manifest["uncertainty"]
        assert (uncertainty["unit"], uncertainty["power"]) == (unit, power)


def test_a_mirrored_run_ends_as_a_single_one(workplace):
    # Clipping acts on each replica's gradient before the sum: without it, both runs are the same.
    found = []
    for name, devices in (("mirrored", '["CPU:0", "CPU:1"]'), ("single", None)):
        more = ["--set", "optimizer.clip_norm=null", "--set", "evaluation.figures=0"]
        if devices:
            strategy = f'{{"strategy": "mirrored", "devices": {devices}}}'
            more += ["--set", f"distribution={strategy}"]
        result = run_command("train", *command(workplace, name, *more))
        assert result.returncode == 0, result.stderr
        assert ("device: CPU:0 + CPU:1" in result.stderr) == bool(devices)
        found += json.loads((workplace / name / "metrics.json").read_text())["results"]
    assert found[0]["psnr_y"] == pytest.approx(found[1]["psnr_y"], abs=0.02)


def test_evaluate_gives_the_numbers_of_the_run(workplace, finished):
    run, _ = finished
    output = workplace / "judged"
    arguments = ["--model", run, "--data", workplace / "test", "--output", output]
    result = run_command("evaluate", *arguments)
    assert result.returncode == 0, result.stderr
    (row,) = json.loads((output / "results.json").read_text())["results"]
    (trained,) = json.loads((run / "metrics.json").read_text())["results"]
    assert row == trained
    assert len(row["per_image"]) == 2
    assert (output / "results.md").read_text() in result.stdout
    assert len(list((output / "figures").iterdir())) == 2
    for model, part in ((workplace, "holds no trained model"), (workplace / "x", "no such file")):
        bad = run_command("evaluate", "--model", model, "--data", workplace / "test")
        assert_one_line_error(bad, part)
