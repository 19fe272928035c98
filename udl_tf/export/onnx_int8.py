"""ONNX models in int8: convolutions between QuantizeLinear and DequantizeLinear nodes."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


class _Reader:
    """Representative images, one by one, as ONNX Runtime asks for them."""

    def __init__(self, images: Iterator[dict[str, np.ndarray]]):
        self.images = images

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.images, None)


def convert_to_int8(graph: Any, images: Iterator[dict[str, np.ndarray]]) -> Any:
    """Returns the model with convolutions in int8, and with everything else in float32.

    The sums of residual blocks thus stay exact. Kernels have 7 bits, one scale per output channel:
    x86 processors without VNNI add products of 8 bits in 16 bits, which overflow.

    Args:
        graph: model in float32, of a quantizable network (udl_tf.export.int8).
        images: that determine the ranges of the maps.
    """
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    add_pre_process_metadata(graph)  # otherwise a warning: tf2onnx has optimized the graph
    grey_levels = {
        "rmin": np.float32(0),
        "rmax": np.float32(255),
        "quant_type": quantization.QuantType.QUInt8,
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        quantization.quantize_static(
            graph,
            path,
            _Reader(images),
            op_types_to_quantize=["Conv"],
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            extra_options={"TensorQuantOverrides": {_unclipped(graph): [grey_levels]}},
        )
        return onnx.load(str(path))


def _unclipped(graph: Any) -> str:
    """Returns the name of the map of which clipping and rearrangement make sr."""
    producers = {name: node for node in graph.graph.node for name in node.output}
    node = producers["sr"]
    while node.op_type != "Conv":
        node = producers[node.input[0]]
    return node.output[0]
