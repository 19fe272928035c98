"""The trained networks that come with the package."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import ROOT, assert_one_line_error, run_command, run_tool
from helpers.images import noise_image
from helpers.measurements import write_heights
from helpers.models import make_run
from make_preset import limits_of, make_preset
from PIL import Image

import udl_tf
from udl_tf.data.sources import bundled_dataset
from udl_tf.data.store import read_pair
from udl_tf.errors import UserError
from udl_tf.hub import presets
from udl_tf.imaging.compression import Compression
from udl_tf.imaging.resize import imresize
from udl_tf.imaging.rgb_files import write_rgb
from udl_tf.imaging.value_range import ValueRange
from udl_tf.metrics import psnr_y
from udl_tf.presets import card, presets_table
from udl_tf.saved import bundle
from udl_tf.saved.loading import load_upscaler
from udl_tf.tasks.preset_card import history

SIDE = 40  # LR pixels of the pieces that are upscaled


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name.startswith("edsr_s_") else [])
        for name in presets.names()
    ],
)
def test_a_preset_beats_bicubic_and_knows_where_it_is_wrong(name):
    model = udl_tf.load(name)
    gains = []
    for source in bundled_dataset("test").sources:
        lr, hr = read_pair(source, model.scale)
        lr = lr[:SIDE, :SIDE]
        hr = hr[: SIDE * model.scale, : SIDE * model.scale]
        result = model.upscale(lr)
        bicubic = imresize(lr, model.scale)
        gains.append(psnr_y(result.image, hr, model.scale) - psnr_y(bicubic, hr, model.scale))
        error = np.abs(result.image.astype(float) - hr)
        sure = result.theta < np.median(result.theta)
        assert 2 * error[sure].mean() < error[~sure].mean()
    assert np.mean(gains) > 0.5


@pytest.mark.parametrize("name", presets.names())
def test_a_preset_is_signed_calibrated_and_described(name):
    manifest = bundle.read_manifest(presets.find(name))
    assert manifest.calibration is not None
    assert manifest.mean.sha256
    assert manifest.licence != "not stated"
    assert manifest.limits != "not stated"
    text = card(name)
    for part in (
        manifest.licence,
        manifest.limits,
        "updates of esu (uncertainty head)",
        "BSD100",
        "80 % intervals cover",
    ):
        assert part in text
    assert "/" not in manifest.training["data"]["text"].replace("images/", "")


def test_readme_states_the_results_of_the_presets():
    text = (ROOT / "README.md").read_text()
    rows = re.findall(
        r"^\| ((?:light|large|photo)_x\d)(, on JPEG.*?)? \| [^|]* \| (.*) \|$", text, re.M
    )
    assert len(rows) == 6
    for name, degraded, stated in rows:
        results = [
            result
            for result in json.loads((presets.find(name) / "metrics.json").read_text())["results"]
            if result.get("degrade") == ("jpeg:75" if degraded else None)
        ]
        assert [result["dataset"] for result in results] == ["Set5", "Set14", "BSD100"]
        psnr = [f"{r['psnr_y']:.3f} ({r['bicubic_psnr_y']:.2f})" for r in results]
        covered = ", ".join(f"{100 * r['coverage_80']:.0f}" for r in results)
        assert stated == " | ".join([*psnr, f"{covered} %"]), name


def test_all_presets_fit_into_the_wheel():
    sizes = [path.stat().st_size for path in presets.FOLDER.rglob("*.h5")]
    assert sum(sizes) < 39e6
    table = presets_table()
    assert all(name in table for name in presets.names())


def test_a_name_means_the_preset_and_a_path_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert presets.find("edsr_s_x4") == presets.FOLDER / "edsr_s_x4"
    assert str(presets.find("./edsr_s_x4/")) == "edsr_s_x4"
    assert presets.contains(presets.find("edsr_s_x4"))
    assert not presets.contains(tmp_path)
    with pytest.raises(UserError, match=r"no such file, folder or preset: .*edsr_s_x4"):
        udl_tf.load("edsr_x4")


@pytest.mark.parametrize(
    ("outscale", "name"),
    [(None, "edsr_s_x4"), (1.5, "light_x2"), (2, "light_x2"), (2.5, "edsr_s_x3"), (8, "edsr_s_x4")],
)
def test_the_default_preset_has_the_smallest_sufficient_scale(outscale, name, monkeypatch):
    names = ["edsr_s_x2", "edsr_s_x3", "edsr_s_x4", "light_x2", "photo_x2"]
    monkeypatch.setattr(presets, "names", lambda: names)
    assert presets.default_preset(outscale) == name
    assert presets.default_preset(outscale, Compression("JPEG", 93)) == name
    assert presets.default_preset(outscale, Compression("JPEG", 92)) == "photo_x2"
    assert presets.default_preset(outscale, Compression("WebP")) == "photo_x2"


def test_without_a_name_the_best_preset_is_loaded():
    expected = udl_tf.load("large_x4")
    for weight, other in zip(udl_tf.load().weights, expected.weights, strict=True):
        np.testing.assert_array_equal(weight, other)


def test_each_file_gets_the_preset_that_suits_its_compression(tmp_path):
    Image.fromarray(noise_image(20, 24)).save(tmp_path / "a.png")
    Image.fromarray(noise_image(20, 24)).save(tmp_path / "b.jpg", quality=60)
    inputs = tmp_path / "a.png", tmp_path / "b.jpg"
    command = ("upscale", *inputs, "--format", "png", "--output", tmp_path / "out")
    result = run_command(*command)
    assert result.returncode == 0, result.stderr
    light = "light_x4 for 1 file: neither JPEG nor lossy WebP (--model selects another preset)\n"
    photo = "photo_x4 for 1 file: JPEG of quality 60 (--model selects another preset)\n"
    assert result.stdout.startswith(light + photo)
    assert "\n2 of 2 images upscaled in " in result.stdout
    for file, name in zip(inputs, ("light_x4", "photo_x4"), strict=True):
        expected = udl_tf.load(name).upscale(file)
        found = np.asarray(Image.open(tmp_path / f"out/{file.stem}.png"))
        np.testing.assert_array_equal(found, expected.image)
    (tmp_path / "out/b.png").unlink()
    again = run_command(*command, "--skip-existing")
    assert again.stdout.startswith(photo)
    assert "1 of 2 images upscaled" in again.stdout
    assert "light_x4" not in again.stdout


def test_a_file_is_upscaled_with_its_theta_map_by_default(tmp_path):
    Image.fromarray(noise_image(20, 24)).save(tmp_path / "photo.png")
    result = run_command("upscale", "photo.png", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert np.asarray(Image.open(tmp_path / "upscaled/photo.png")).shape == (80, 96, 3)
    assert (tmp_path / "upscaled/photo_theta.png").exists()


@pytest.mark.slow
def test_a_preset_is_evaluated_beside_and_never_changed(tmp_path):
    write_rgb(tmp_path / "set/a.png", noise_image(48, 52))
    write_rgb(tmp_path / "set_LR/X4/a.png", noise_image(12, 13))
    before = {path: path.stat().st_mtime_ns for path in presets.FOLDER.rglob("*")}
    command = ["evaluate", "--model", "edsr_s_x4", "--figures", "0", "--data", "set"]
    result = run_command(*command, "set_LR", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "skipped: set_LR, which contains only LR images" in result.stderr
    twice = run_command(*command, "--beside", "edsr_s_x4", cwd=tmp_path)
    assert_one_line_error(twice, "two models are named edsr_s_x4")
    assert (tmp_path / "evaluation/edsr_s_x4/results.md").exists()
    refused = run_command("calibrate", "--model", "edsr_s_x4", "--data", "set", cwd=tmp_path)
    assert_one_line_error(refused, "presets are read-only")
    now = {path: path.stat().st_mtime_ns for path in presets.FOLDER.rglob("*")}
    assert {path: now[path] for path in before} == before


def test_limits_of_use_follow_from_the_training_images():
    clean = limits_of({"data": {"degradations": []}})
    assert clean == limits_of({}) == limits_of({"data": {}})
    assert "interpolation and have neither noise nor JPEG artefacts; on other images" in clean
    degraded = limits_of({"data": {"degradations": [{"kind": "jpeg"}]}})
    assert "interpolation and then degraded like the training images; on other images" in degraded


def test_a_run_becomes_a_preset(tmp_path):
    run = make_run(tmp_path / "run", "edsr_s", 2)
    write_rgb(tmp_path / "set/a.png", noise_image(48, 52))
    preset = tmp_path / "presets/small"
    options = ("--model", run, "--data", tmp_path / "set", "--output", tmp_path / "presets")
    written = run_tool(
        *("make_preset.py", *options, "--name", "small", "--licence", "free"),
        *("--degrade", "jpeg:40"),
    )
    assert written.returncode == 0, written.stderr
    assert written.stdout.endswith(f"written: {preset}\n")
    result, degraded = json.loads((preset / "metrics.json").read_text())["results"]
    assert result["dataset"] == degraded["dataset"] == "set"
    assert "degrade" not in result
    assert degraded["degrade"] == "jpeg:40"
    assert degraded["psnr_y"] < result["psnr_y"]
    card = (preset / "README.md").read_text()
    assert "\n| set " in card
    assert "\n| set, jpeg:40 " in card
    assert "per_image" not in result
    assert 0 <= result["coverage_80"] <= 1
    manifest = bundle.read_manifest(preset)
    assert manifest.licence == "free"
    assert "not for evidence or diagnosis" in manifest.limits
    lr = noise_image(20, 24)
    single, half = load_upscaler(run).upscale(lr), load_upscaler(preset).upscale(lr)
    assert np.allclose(half.image, single.image, atol=1)
    assert np.allclose(half.theta, single.theta, rtol=0.02)
    sizes = [sum(path.stat().st_size for path in folder.rglob("*.h5")) for folder in (run, preset)]
    assert sizes[1] < sizes[0]
    assert_one_line_error(run_tool("make_preset.py", *options, "--name", "small"), "already exists")
    for steps, training in (("[{}, {}]", {}), ("[{}]", {"steps": [{"updates_done": 3}]})):
        (run / "config.json").write_text(f'{{"steps": {steps}}}')
        changed = bundle.read_manifest(run).model_copy(update={"training": training})
        bundle.write_manifest(run, changed)
        unfinished = run_tool("make_preset.py", *options, "--name", "other")
        assert_one_line_error(unfinished, "has not finished: run the same command again")
    assert [path.name for path in (tmp_path / "presets").iterdir()] == ["small"]


def test_a_run_on_measurements_becomes_a_preset(tmp_path):
    options = {"channels": 1, "value_range": (900.0, 1100.0), "num_blocks": 1, "num_filters": 4}
    run = make_run(tmp_path / "run", "edsr_s", 2, light=True, **options)
    test = write_heights(tmp_path / "heights", 1)
    (result,) = make_preset(run, "small", [test], "free", "none", tmp_path / "presets")
    assert result["psnr"] > 0
    assert 0 <= result["coverage_80"] <= 1
    preset = load_upscaler(tmp_path / "presets/small")
    assert preset.value_range == ValueRange((900.0,), (1100.0,))


def test_only_calibrated_runs_become_presets(tmp_path):
    run = make_run(tmp_path / "run", "edsr_s", 2, calibrated=False)
    with pytest.raises(UserError, match="not calibrated: run udl-tf calibrate on it first"):
        make_preset(run, "small", [tmp_path], "free", "none", tmp_path / "presets")


def test_an_incomplete_preset_is_ignored(tmp_path, monkeypatch):
    monkeypatch.setattr(presets, "FOLDER", tmp_path)
    for name in (".x2.1f.part", "x2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    assert presets.names() == ["x2"]


def test_a_card_describes_the_origin_of_a_training():
    first = {"steps": [{"updates": 1200, "loss": "esu"}], "data": {"text": "A"}, "origin": None}
    second = {"steps": [{"updates": 5, "loss": "udl"}], "data": {"text": "B"}}
    continued = second | {"origin": {"name": "x2", **first}}
    trained = ("trained", "5 updates of udl; on B")
    origin = ("started from x2", "1,200 updates of esu; on A")
    assert list(history(continued)) == [trained, origin]
    imported = second | {"origin": {"name": "run", "imported": "a.pt"}}
    assert list(history(imported)) == [trained, ("started from run", "imported from a.pt")]
    running = {
        "steps": [{"updates": 1200, "loss": "esu", "updates_done": 30}],
        "data": {"text": "A"},
    }
    assert list(history(running)) == [("trained", "30 of 1,200 updates of esu; on A")]


def test_a_name_is_the_preset_and_a_path_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    preset = presets.FOLDER / "edsr_s_x4"
    assert presets.find("edsr_s_x4") == presets.find(Path("edsr_s_x4")) == preset
    assert bundle.read_manifest("edsr_s_x4").architecture.scale == 4
    (tmp_path / "edsr_s_x4").mkdir()
    assert presets.find("edsr_s_x4") == preset
    for path in ("./edsr_s_x4", Path("edsr_s_x4"), "edsr_s_x4/"):
        assert presets.find(path) == presets.find(presets.find(path)) == Path("edsr_s_x4")
        with pytest.raises(UserError, match="holds no trained model"):
            bundle.read_manifest(presets.find(path))
