"""udl-tf web: its options; the page itself is tested in tests/web."""

import socket
import sys

import pytest
from helpers.commands import assert_one_line_error, run_command


def test_a_port_in_use_is_one_line():
    pytest.importorskip("gradio")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = run_command("web", "--port", port)
    line = (
        f"127.0.0.1, port {port}: cannot be used (Address already in use): choose another (--port)"
    )
    assert_one_line_error(result, line)


def test_without_gradio_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    result = run_command("web")
    assert_one_line_error(result, 'gradio is not installed: run pip install "udl_tf[web]"')


def test_a_model_that_does_not_exist_is_one_line(tmp_path):
    pytest.importorskip("gradio")
    assert_one_line_error(run_command("web", "--model", tmp_path / "none"), "none")
