"""Exports of trained models: SavedModel, TFLite and ONNX, checked against the Keras networks."""

from typing import TYPE_CHECKING

from udl_tf._support.lazy import lazy_names

if TYPE_CHECKING:
    from udl_tf.export.onnx import export_onnx as export_onnx
    from udl_tf.export.savedmodel import export_savedmodel as export_savedmodel
    from udl_tf.export.tflite import export_tflite as export_tflite

__all__ = ["export_onnx", "export_savedmodel", "export_tflite"]

__getattr__ = lazy_names(
    __name__,
    {"export_onnx": "onnx", "export_savedmodel": "savedmodel", "export_tflite": "tflite"},
)
