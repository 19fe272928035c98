"""The programs of docs/export.md, in processes without udl_tf and all but their runtime."""

import re
import subprocess
import sys

import numpy as np
import pytest
from helpers.commands import ROOT
from helpers.images import noise_image
from PIL import Image

from udl_tf.inference.upscaler import BORDER
from udl_tf.saved.loading import load_upscaler

GUIDE = (ROOT / "docs/export.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
RUNTIMES = {  # in the order of the programs: fixture, place of the model, packages that are missing
    "savedmodel": ("served", "models/NAME", "udl_tf keras jax"),
    "tflite": ("small_tflite", "model.tflite", "udl_tf keras tensorflow"),
    "int8": ("int8_tflite", "model.tflite", "udl_tf keras tensorflow"),
    "onnx": ("small_onnx", "model.onnx", "udl_tf keras tensorflow tf2onnx onnx"),
}
BEFORE = """
import sys

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
"""
AFTER = """
import numpy
numpy.savez("outputs.npz", sr=sr, theta=theta)
assert not set(sys.modules) & set({blocked!r}.split())
"""


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "program"), [*zip(RUNTIMES, PROGRAMS, strict=True)])
def test_a_program_of_the_guide_needs_its_runtime_alone(
    kind, program, small_run, transparent_run, request, tmp_path
):
    fixture, place, blocked = RUNTIMES[kind]
    model = request.getfixturevalue(fixture)
    path = model[0] if isinstance(model, tuple) else model
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).symlink_to(path)
    image = noise_image(13, 18)
    Image.fromarray(image).save(tmp_path / "photo.png")
    script = BEFORE.format(blocked=blocked) + program + AFTER.format(blocked=blocked)
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    with np.load(tmp_path / "outputs.npz") as file:
        outputs = dict(file)
    sr, theta = load_upscaler(transparent_run if kind == "int8" else small_run).predict(
        image, BORDER
    )
    sr = np.clip(sr, 0, 255)
    bound = {"savedmodel": 0.501, "int8": 4}.get(kind, 1e-3)
    assert np.abs(outputs["sr"] - sr).max() <= bound
    assert np.abs(outputs["theta"] - theta).max() <= (0.02 if kind == "int8" else 1e-3)
    written = np.asarray(Image.open(tmp_path / "result.png"))
    assert np.abs(written - sr).max() <= bound + 0.5
