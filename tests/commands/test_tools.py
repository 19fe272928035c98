"""The export tools and the benchmarks, run as a person runs them."""

import json
import subprocess
import sys

import pytest
from benchmarks.growth import batches_table, run_batches
from benchmarks.pipeline import pipeline_table, run_pipeline
from benchmarks.train import run_train, train_table
from benchmarks.workers import run_workers, workers_table
from helpers.commands import ROOT, assert_one_line_error
from helpers.images import noise_image
from helpers.models import make_run
from PIL import Image

from udl_tf.saved.loading import load


def run_tool(name, *arguments):
    command = [sys.executable, ROOT / "tools" / name, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize(
    ("tool", "name", "options"),
    [
        ("export_tflite.py", "model.tflite", ("--type", "float16", "--no-uncertainty")),
        ("export_onnx.py", "model.onnx", ("--opset", "17")),
        ("export_savedmodel.py", "model", ("--version", "4", "--max-pixels", "999")),
    ],
)
def test_an_export_tells_its_difference_and_place(tool, name, options, small_run, tmp_path):
    path = tmp_path / name
    result = run_tool(tool, "--model", small_run, "--output", path, "--licence", "CC0", *options)
    assert result.returncode == 0, result.stderr
    told, written = result.stdout.splitlines()
    assert told.startswith("largest difference, grey levels: sr ")
    assert written.startswith(f"written: {path}")
    assert result.stderr == ""
    assert load(path).card.licence == "CC0"


@pytest.mark.parametrize(
    ("tool", "options", "message"),
    [
        (
            "export_onnx.py",
            ("--model", "nowhere", "--output", "a.onnx"),
            "nowhere: no such file or folder",
        ),
        (
            "export_tflite.py",
            ("--model", "nowhere", "--tile", "0"),
            "--tile 0: expected a positive",
        ),
        ("export_savedmodel.py", ("--model", "nowhere", "--version", "-1"), "--version -1"),
    ],
)
def test_what_a_person_can_do_wrong_is_one_line(tool, options, message, tmp_path):
    result = run_tool(tool, "--output", tmp_path / "model", *options)
    assert_one_line_error(result, message)
    assert list(tmp_path.iterdir()) == []


def test_the_table_of_exports(small_run, image_folder, tmp_path):
    out = ("--output", tmp_path / "out")
    result = run_tool(
        "benchmark.py", "exports", "--model", small_run, "--data", image_folder,
        "--repeats", 1, *out,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    content = json.loads((tmp_path / "out/exports.json").read_text())
    rows = content["results"]["small_x2"]
    names = ["Keras float32", "SavedModel", "TFLite float32", "TFLite float16", "TFLite int8"]
    assert [row["format"] for row in rows] == [*names, "ONNX float32", "ONNX float16"]
    for row in rows:
        assert len(row["seconds_with_theta"]) == 1
        close = 0.5 if "int8" in row["format"] else 0.01
        assert row["psnr_y"] == pytest.approx(rows[0]["psnr_y"], abs=close)
    assert content["machine"]["cores"] >= 1
    assert (tmp_path / "out/exports.md").read_text().count("\n| ") == 9  # heads, rule, rows


def test_the_table_of_load(small_run, tmp_path):
    out = ("--output", tmp_path / "out")
    result = run_tool("benchmark.py", "load", "--model", small_run, "--requests", 20, *out)
    assert result.returncode == 0, result.stderr
    rows = json.loads((tmp_path / "out/load.json").read_text())["results"]["small_x2"]
    assert [row["answered"] for row in rows] == [20, 20]


def test_the_table_of_the_pipeline(image_folder, tmp_path):
    for index in range(2):
        Image.fromarray(noise_image(200, 208, index)).save(image_folder / f"large{index}.png")
    rates = run_pipeline([image_folder], 4, tmp_path, repeats=1, seconds=0.2)
    table = pipeline_table(rates)
    assert [row[0] for row in table[1:]] == list(rates)
    for name in ("pack", "images, all decoded in memory", "images, decoded each time"):
        assert rates[name][0] > 1


def test_the_table_of_training():
    results = run_train(4, batch=1, side=8, repeats=1, policies=["float32"])
    names = ("L1", "UDL", "UDL, uncertainty cached")
    plain, weighted, cached = (results["rows"][f"{name}, float32"]["flop"] for name in names)
    # A trunk and a head more, forwards only; nothing more than L1 but the weights.
    assert 1.2 * plain < weighted < 1.5 * plain
    assert cached == pytest.approx(plain, rel=0.01)
    table = train_table(results)
    assert [row[0] for row in table[1:]] == list(results["rows"])


def test_the_table_of_batches():
    rows = run_batches(4, side=8, batches=[1, 2], replicas=[1, 2])
    assert [(row["replicas"], row["batch"]) for row in rows] == [(1, 1), (1, 2), (2, 2)]
    assert all(row["seconds"] > 0 and row["peak_mb"] > row["rest_mb"] > 100 for row in rows)
    assert len(batches_table(rows)) == 4


def test_the_table_of_workers():
    rows = run_workers(4, side=8, batch=2, counts=[2], mbit=[200])
    assert [(row["workers"], row["mbit"]) for row in rows] == [(2, 0), (2, 200)]
    for row in rows:
        assert row["bytes"] == pytest.approx(row["ring_bytes"], rel=0.1)
    free, linked = (row["seconds"] for row in rows)
    assert linked - free > 0.8 * rows[0]["ring_bytes"] / (200e6 / 8)
    assert len(workers_table(rows)) == 3


def test_the_table_of_upscaling(tmp_path):
    run = make_run(tmp_path / "run", "edsr_s", 4)
    result = run_tool(
        "benchmark.py", "upscale", "--model", run, "--repeats", 1, "--sizes", 0.01,
        "--output", tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    results = json.loads((tmp_path / "upscale.json").read_text())["results"]
    row = results["rows"]["networks, float32"]
    assert 1 < row["with_theta_flop"] / row["alone_flop"] < 4
    assert results["sizes"][0]["peak_mb"] > 100
