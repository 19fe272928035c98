from pathlib import Path

import numpy as np
import pytest
from helpers.images import noise_image

from udl_tf.errors import UserError
from udl_tf.saved import exported
from udl_tf.saved.card import ModelCard
from udl_tf.saved.exported import (
    ExportedUpscaler,
    _dequantize,
    _quantize,
    is_savedmodel,
    latest_version,
    open_savedmodel,
    version_numbers,
)
from udl_tf.saved.loading import load_upscaler

OLD = Path(__file__).parent.parent / "data_0_1"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.tflite", r"a\.tflite: contains no model card .*: expected a model exported by udl_tf"),
        ("a.onnx", r"a\.onnx: cannot be loaded \(.*\): export it again"),
        ("a.txt", r"a\.txt: expected a preset, a run folder or a \.tflite or \.onnx file"),
    ],
)
def test_corrupt_and_foreign_files_are_one_line(name, message, tmp_path):
    (tmp_path / name).write_bytes(b"not a model")
    with pytest.raises(UserError, match=message) as error:
        load_upscaler(tmp_path / name)
    assert "\n" not in str(error.value)


def test_corrupt_and_foreign_savedmodels_are_one_line(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"not a model")
    with pytest.raises(UserError, match="contains no model card"):
        load_upscaler(tmp_path)
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets/model_card.json").write_text("{")
    with pytest.raises(UserError, match=r"\(model card\): not valid JSON .*: export it again"):
        load_upscaler(tmp_path)


def test_the_latest_version_is_opened(tmp_path):
    assert version_numbers(tmp_path) == []
    assert latest_version(tmp_path) == tmp_path
    assert not is_savedmodel(tmp_path)
    for name in ("2", "10", "x3", "²"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").touch()
    assert sorted(version_numbers(tmp_path)) == [2, 10]
    assert latest_version(tmp_path) == tmp_path / "10"
    assert is_savedmodel(tmp_path)
    with pytest.raises(UserError, match=r"/10: contains no model card"):
        open_savedmodel(tmp_path)
    (tmp_path / "011").mkdir()  # which TensorFlow Serving reads as 11
    assert latest_version(tmp_path) == tmp_path / "011"


def test_quantization_is_affine_and_clips():
    detail = {"dtype": np.uint8, "quantization": (0.5, 10)}
    values = np.array([-5.0, 0.0, 0.3, 122.5, 200.0], np.float32)
    quantized = _quantize(values, detail)
    assert quantized.dtype == np.uint8
    assert quantized.tolist() == [0, 10, 11, 255, 255]
    assert _dequantize(quantized, detail).tolist() == [-5.0, 0.0, 0.5, 122.5, 122.5]
    single = {"dtype": np.float32}
    assert _quantize(values, single) is values
    assert _dequantize(values, single) is values


def test_runtimes_use_the_usable_cores_and_no_more(monkeypatch):
    """In a container with a quota, os.cpu_count() is too high (7: a number nothing else has)."""
    onnxruntime = pytest.importorskip("onnxruntime")
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    threads = []

    def session(path, options, original=onnxruntime.InferenceSession):
        threads.append(options.intra_op_num_threads)
        return original(path, options)

    def interpreter(num_threads, original=litert.Interpreter, **options):
        threads.append(num_threads)
        return original(num_threads=num_threads, **options)

    monkeypatch.setattr(exported, "usable_cores", lambda: 7)
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setattr(litert, "Interpreter", interpreter)
    for name in ("model.onnx", "model.tflite"):
        load_upscaler(OLD / name)
    assert threads == [7, 7]


def test_equal_channels_stay_equal():
    """The maps of an exported model may tint a grey image that is stored as RGB."""
    card = ModelCard(
        name="tinted", format="onnx", precision="float32", scale=2, outputs=["sr", "theta"],
        architecture={"name": "edsr_s", "scale": 2}, parameters=0, border=8, smallest=8, radius=6,
        margin=6, align=1, floats=50, versions={},
    )  # fmt: skip

    def forward(lr, outputs):
        large = lr.repeat(2, axis=1).repeat(2, axis=2) + np.array([0, 9, -12], np.float32)
        return {"sr": np.clip(large, 0, 255), "theta": large / 50 + 1}

    model = ExportedUpscaler(card, forward)
    gray = noise_image(9, 7)[..., 0]
    for pixels in (gray, gray.astype(np.uint16) * 257):
        expected = model.upscale(pixels)
        result = model.upscale(np.dstack([pixels] * 3))
        assert np.array_equal(result.image, np.dstack([expected.image] * 3))
        assert np.array_equal(result.theta, np.dstack([expected.theta] * 3))
