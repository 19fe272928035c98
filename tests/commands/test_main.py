"""udl-tf itself: the list of commands, help, aliases, and commands without tests of their own."""

import contextlib
import io
import json

import pytest
from helpers.commands import ROOT, assert_one_line_error, run_command
from helpers.images import noise_image
from PIL import Image

import udl_tf
import udl_tf.evaluation.precision
import udl_tf.saved.loading
import udl_tf.training
from udl_tf.__main__ import COMMANDS
from udl_tf._support.command_line import progress_bar
from udl_tf._support.config_file import config_names
from udl_tf._support.hardware import Rates
from udl_tf.config import Config
from udl_tf.saved.loading import load_upscaler


def test_the_version():
    result = run_command("--version")
    assert (result.returncode, result.stdout) == (0, f"udl-tf {udl_tf.__version__}\n")


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_lists_all_commands(option):
    result = run_command(option)
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    for name, (_, text) in COMMANDS.items():
        assert any(line.split() == [name, *text.split()] for line in lines), name
    assert max(map(len, lines)) <= 100


def test_a_typo_names_the_nearest_command():
    result = run_command("evalute")
    assert_one_line_error(result, "udl-tf evalute: unknown command, nearest known: evaluate")
    assert_one_line_error(run_command("xyz"), "unknown command, known: batch, calibrate")


@pytest.mark.parametrize(
    "command",
    [
        ("export", "onnx", "--output", "a.onnx"),
        ("calibrate", "--test", ".", "--output", "a"),
        ("evaluate", "--data", "."),
    ],
    ids=" ".join,
)
def test_a_wrong_handle_is_one_line_that_says_why(command):
    """The line was "argument --model: invalid find value"."""
    result = run_command(*command, "--model", "hf://only_a_user")
    assert_one_line_error(result, "hf://only_a_user: is not a handle of a preset: expected hf://")


@pytest.mark.parametrize(
    "command",
    [
        *((name,) for name in COMMANDS),
        *(("export", name) for name in ("savedmodel", "tflite", "onnx")),
        *(("data", name) for name in ("check", "pack")),
    ],
    ids=" ".join,
)
def test_help_of_every_command(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")  # of a terminal
    result = run_command(*command, "--help")
    assert result.returncode == 0
    assert result.stdout.startswith(f"usage: udl-tf {' '.join(command)} ")
    assert max(map(len, result.stdout.splitlines())) <= 100


def test_configs_are_listed_and_printed(tmp_path):
    result = run_command("configs", cwd=tmp_path)
    listed = [line.split("|")[1].strip() for line in result.stdout.splitlines()]
    assert listed[2:] == config_names()
    assert "dpdnn x3" in result.stdout
    result = run_command("configs", "dpdnn_x3", cwd=tmp_path)
    assert result.stdout == (ROOT / "configs/dpdnn_x3.json").read_text()
    assert_one_line_error(run_command("configs", "dpdnn_x5"), "nearest known: dpdnn_x")


def test_a_shipped_config_is_found_from_any_working_directory(tmp_path):
    arguments = ("--config", "dpdnn_x3", "--print-config", "--set", "data.batch_size=3")
    result = run_command("train", *arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    config = Config.model_validate(json.loads(result.stdout))
    assert (config.model.name, config.model.scale, config.data.batch_size) == ("dpdnn", 3, 3)
    assert list(tmp_path.iterdir()) == []
    result = run_command("train", "--config", "dpdnn_x5", cwd=tmp_path)
    assert_one_line_error(result, "not a shipped config", "nearest known: dpdnn_x")


@pytest.mark.parametrize(
    ("arguments", "folder"),
    [
        (["--config", "presets/edsr_s_x4"], "runs/presets/edsr_s_x4"),
        (["--config", "configs/presets/edsr_s_x4.json"], "runs/presets/edsr_s_x4"),
        (["--config", "edsr_s_x4", "--quick"], "runs/edsr_s_x4-quick"),
        (["--config", "edsr_s_x4", "--output", "a"], "a"),
        (["--config", "edsr_s_x4", "--run-dir", "a", "--extend"], "a"),
    ],
)
def test_the_run_folder(arguments, folder, monkeypatch):
    calls = []
    monkeypatch.setattr(udl_tf.training, "train", lambda *call: calls.append(call))
    result = run_command("train", *arguments)
    assert result.returncode == 0, result.stderr
    ((config, run, extend),) = calls
    assert (str(run), extend) == (folder, "--extend" in arguments)
    assert config.model.scale == 4


def test_presets_are_listed_and_described():
    result = run_command("presets")
    assert "edsr_s_x4" in result.stdout
    assert "edsr_s x4" in run_command("presets", "edsr_s_x4").stdout
    result = run_command("presets", "edsr_s_x5")
    assert_one_line_error(result, "preset 'edsr_s_x5' is unknown, nearest known: edsr_s_x")


@pytest.fixture(scope="module")
def server(served):
    """(gRPC, REST) URL of a model on the stand-in for TensorFlow Serving, in this process."""
    pytest.importorskip("tensorflow_serving")
    from helpers.serving.grpc_server import start_grpc
    from helpers.serving.models import StandIn
    from helpers.serving.rest_server import start_rest

    models = StandIn({"small": served})
    grpc, port = start_grpc(models, "127.0.0.1:0")
    rest = start_rest(models, "127.0.0.1", 0)
    yield f"grpc://127.0.0.1:{port}/small", f"http://127.0.0.1:{rest.server_port}/small"
    rest.shutdown()
    rest.server_close()
    grpc.stop(grace=None).wait()


@pytest.mark.slow
def test_check_server(server):
    for url in server:
        result = run_command("check-server", url)
        assert result.returncode == 0, result.stderr
        model, theta, accepts, answers = result.stdout.splitlines()
        assert model.endswith("edsr_s x2")
        assert "calibrated on nothing" in theta
        assert "40,000 pixels" in accepts
        assert "64x64" in answers
    assert_one_line_error(run_command("check-server", server[0] + "er"), "smaller")
    assert_one_line_error(run_command("check-server", server[0], "--timeout", "0"), "--timeout 0")
    result = run_command("check-server", server[0], "--timeout", "1e300")
    assert_one_line_error(result, "timeout 1e+300 s; expected", "(--timeout)")


@pytest.mark.slow
def test_export_to_int8(small_run, image_folder, tmp_path):
    path = tmp_path / "model.tflite"
    options = ("--model", small_run, "--output", path, "--images", image_folder)
    result = run_command("export", "tflite", "--precision", "int8", *options)
    assert result.returncode == 0, result.stderr
    assert f"written: {path}" in result.stdout
    assert load_upscaler(path).card.precision == "int8"


def test_fast_is_precision_auto(transparent_run, tmp_path, monkeypatch):
    for module in (udl_tf.saved.loading, udl_tf.evaluation.precision):
        monkeypatch.setattr(module, "measure_rates", lambda: Rates(float32=2e9, bfloat16=1e9))
    Image.fromarray(noise_image(6, 8)).save(tmp_path / "a.png")
    options = ("--model", transparent_run, "--output", tmp_path / "out", "--fast")
    result = run_command("upscale", tmp_path / "a.png", *options)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("precision: float32, ")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_progress_bar_is_drawn_on_terminals_only():
    lines = []
    for stderr in (Terminal(), io.StringIO()):
        with contextlib.redirect_stderr(stderr), progress_bar("megapixels", 1e-6) as progress:
            progress(0, None)
            progress(3e5, 604_000, "a.png")
            progress(604_000, 604_000, "b.png")
        lines.append(stderr.getvalue().split("\r"))
    assert lines[1] == [""]
    assert lines[0][-1].startswith("b.png: 100%|")
    assert lines[0][-1].rstrip().endswith("| 0.6/0.6 megapixels, 00:00 left")


@pytest.mark.parametrize(
    ("command", "arguments", "code", "option"),
    [
        ("upscale", ("a.png", "--output", "."), 2, "(--output)"),
        (
            "upscale",
            ("a.png", "--output", "b", "--max-megapixels", "1e-5"),
            1,
            "(--max-megapixels)",
        ),
        ("train", ("--config", "edsr_s_x4", "--output", "run"), 2, "(--output)"),
        ("train", ("--config", "edsr_s_x4", "--set", "steps.9.updates=1"), 2, "(--set)"),
    ],
)
def test_errors_of_the_library_name_the_option_that_fixes_them(
    command, arguments, code, option, transparent_run, tmp_path
):
    Image.fromarray(noise_image(6, 8)).save(tmp_path / "a.png")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/notes.txt").write_text("other files")
    if command == "upscale":
        arguments = (*arguments, "--model", transparent_run)
    result = run_command(command, *arguments, cwd=tmp_path)
    assert result.returncode == code, result.stderr
    assert result.stderr.rstrip().endswith(option)
