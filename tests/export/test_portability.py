"""Exports in processes in which nothing but their runtime can be imported."""

import subprocess
import sys

import numpy as np
import pytest
from helpers.images import noise_image

from udl_tf.inference.upscaler import BORDER
from udl_tf.saved.loading import load

RUNTIMES = {
    "savedmodel": (
        "udl_tf keras jax",
        """
import tensorflow as tf
serve = tf.saved_model.load(path).signatures["serving_default"]
outputs = serve(image=tf.constant(lr.astype("uint8")))
outputs = {name: value.numpy() for name, value in outputs.items()}
""",
    ),
    "tflite": (
        "udl_tf keras tensorflow",
        """
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path=path)
index = interpreter.get_input_details()[0]["index"]
interpreter.resize_tensor_input(index, lr.shape)
outputs = interpreter.get_signature_runner()(lr=lr)
""",
    ),
    "onnx": (
        "udl_tf keras tensorflow tf2onnx onnx",
        """
import onnxruntime
outputs = dict(zip(("sr", "theta"), onnxruntime.InferenceSession(path).run(None, {"lr": lr})))
""",
    ),
}
PROGRAM = """
import sys
import numpy as np

class Blind:
    # A finder that does not find blocked packages, as if they were not installed.

    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}.split():
            return None
        return self.finder.find_spec(name, path, target)

    def invalidate_caches(self):
        pass

sys.meta_path[:] = [Blind(finder) for finder in sys.meta_path]
path, lr = sys.argv[1], np.load(sys.argv[2])
{body}
np.savez(sys.argv[3], **outputs)
assert not set(sys.modules) & set({blocked!r}.split())
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", RUNTIMES)
def test_an_export_runs_with_its_runtime_alone(kind, small_run, request, tmp_path):
    if kind == "savedmodel":
        path = request.getfixturevalue("served") / "1"
    else:
        path, _ = request.getfixturevalue(f"small_{kind}")
    lr = noise_image(13, 18).astype(np.float32)[None]
    np.save(tmp_path / "lr.npy", lr)
    blocked, body = RUNTIMES[kind]
    program = PROGRAM.format(blocked=blocked, body=body)
    files = [path, tmp_path / "lr.npy", tmp_path / "outputs.npz"]
    result = subprocess.run(
        [sys.executable, "-c", program, *map(str, files)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    outputs = np.load(tmp_path / "outputs.npz")
    sr, theta = load(small_run).predict(lr[0], BORDER)
    sr = np.clip(sr, 0, 255)
    assert np.abs(outputs["sr"][0] - sr).max() <= (0.501 if kind == "savedmodel" else 1e-3)
    assert np.abs(outputs["theta"][0] - theta).max() <= 1e-3
