import pytest

from udl_tf.errors import UserError
from udl_tf.export.onnx import export_onnx
from udl_tf.export.tflite import export_tflite


@pytest.mark.parametrize(("export", "suffix"), [(export_tflite, ".tflite"), (export_onnx, ".onnx")])
def test_a_name_whose_format_load_would_not_recognise(export, suffix, small_run, tmp_path):
    with pytest.raises(UserError, match=rf"model\.bin: expected a name that ends in \{suffix}"):
        export(small_run, tmp_path / "model.bin")


def test_exports_need_the_tensorflow_backend(small_run, tmp_path, monkeypatch):
    monkeypatch.setattr("keras.backend.backend", lambda: "jax")
    with pytest.raises(UserError, match="KERAS_BACKEND=jax: exports need the TensorFlow backend"):
        export_onnx(small_run, tmp_path / "model.onnx")
