import sys

import pytest
from helpers.commands import assert_one_line_error, run_command

from udl_tf._support import backend
from udl_tf._support.backend import check_backend, keras_backend
from udl_tf.errors import UserError


@pytest.fixture
def without_keras(monkeypatch, tmp_path):
    """Keras is not imported yet, and its settings are in an empty folder, which is returned."""
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    return tmp_path


def test_the_backend_is_the_one_that_keras_will_use(without_keras, monkeypatch):
    assert keras_backend() == "tensorflow"
    (without_keras / "keras.json").write_text('{"backend": "numpy"}')
    assert keras_backend() == "numpy"
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert keras_backend() == "jax"
    (without_keras / "keras.json").write_text("damaged")
    monkeypatch.delenv("KERAS_BACKEND")
    assert keras_backend() == "tensorflow"


@pytest.mark.parametrize("name", ["torch", "numpy", "tensorflw"])
def test_other_backends_are_one_line(without_keras, monkeypatch, name):
    monkeypatch.setenv("KERAS_BACKEND", name)
    expected = (
        f"the Keras backend is '{name}'; this command works with tensorflow and jax: set the"
        " environment variable KERAS_BACKEND=tensorflow"
    )
    with pytest.raises(UserError, match=expected):
        check_backend("tensorflow", "jax")


def test_a_backend_that_is_not_installed_is_one_line(without_keras, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"jax is not installed: run pip install \"udl_tf\[jax\]\""):
        check_backend("tensorflow", "jax")


MODEL = ("--model", "edsr_light_x4")


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "--config", "dpdnn_x3"),
        ("upscale", "photo.jpg"),
        ("evaluate", *MODEL, "--data", "x"),
        ("calibrate", *MODEL, "--test", "x", "--output", "x"),
        ("export", "onnx", *MODEL, "--output", "x.onnx"),
        ("import-torch", "x.pt", "--output", "x"),
        ("batch", "x", "--output", "y"),
        ("check-server", "grpc://localhost:1/x"),
        ("doctor",),
    ],
    ids=lambda arguments: arguments[0],
)
def test_every_command_that_imports_keras_checks_the_backend(arguments, monkeypatch, tmp_path):
    monkeypatch.setattr(backend, "keras_backend", lambda: "torch")
    result = run_command(*arguments, cwd=tmp_path)
    assert_one_line_error(result, "the Keras backend is 'torch'", "KERAS_BACKEND=tensorflow")
    assert list(tmp_path.iterdir()) == []


def test_exports_need_tensorflow(monkeypatch, tmp_path):
    monkeypatch.setattr(backend, "keras_backend", lambda: "jax")
    result = run_command("export", "onnx", *MODEL, "--output", tmp_path / "x.onnx")
    assert_one_line_error(result, "the Keras backend is 'jax'", "works with tensorflow: set")
