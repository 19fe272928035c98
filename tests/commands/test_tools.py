"""tools/: the short forms of commands."""

import subprocess
import sys

import pytest
from helpers.commands import ROOT, assert_one_line_error, run_tool

from udl_tf.saved.loading import load_upscaler


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tool", "name", "options"),
    [
        ("export_tflite.py", "model.tflite", ("--type", "float16", "--no-uncertainty")),
        ("export_onnx.py", "model.onnx", ("--opset", "17")),
        ("export_savedmodel.py", "model", ("--version", "4", "--max-pixels", "999")),
    ],
)
def test_an_export_states_its_difference_and_place(tool, name, options, small_run, tmp_path):
    path = tmp_path / name
    result = run_tool(tool, "--model", small_run, "--output", path, "--licence", "CC0", *options)
    assert result.returncode == 0, result.stderr
    summary, written = result.stdout.splitlines()
    assert summary.startswith("largest difference, grey levels: sr ")
    assert written.startswith(f"written: {path}")
    assert result.stderr == ""
    card = load_upscaler(path).card
    assert card.licence == "CC0"
    assert card.precision == ("float16" if "float16" in options else "float32")


@pytest.mark.parametrize(
    ("tool", "options", "message"),
    [
        (
            "export_onnx.py",
            ("--model", "nowhere", "--output", "a.onnx"),
            "nowhere: no such file",
        ),
        (
            "export_tflite.py",
            ("--model", "nowhere", "--tile", "0"),
            "--tile 0: expected a positive",
        ),
        ("export_savedmodel.py", ("--model", "nowhere", "--version", "-1"), "--version -1"),
        ("import_torch.py", ("nowhere.pt", "--res-scale", "-1"), "--res-scale -1.0"),
    ],
)
def test_wrong_options_are_one_line(tool, options, message, tmp_path):
    result = run_tool(tool, "--output", tmp_path / "model", *options)
    assert_one_line_error(result, message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("tool", ["make_alarm_figure.py", "add_input_statistics.py"])
def test_a_wrong_handle_is_one_line_that_says_why(tool):
    result = run_tool(tool, "--model", "hf://only_a_user", "--data", ".")
    assert_one_line_error(result, "hf://only_a_user: is not a handle of a preset: expected hf://")


def test_tools_run_from_any_working_directory(tmp_path):
    command = [sys.executable, ROOT / "tools/benchmark.py", "train", "--help"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "--batches" in result.stdout
