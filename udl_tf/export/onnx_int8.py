"""ONNX models in int8: convolutions between QuantizeLinear and DequantizeLinear nodes."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from udl_tf.models.heads import LOG_SCALE


class _Reader:
    """Representative images, one by one, as ONNX Runtime asks for them."""

    def __init__(self, images: Iterator[dict[str, np.ndarray]]):
        self.images = images

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.images, None)


def convert_to_int8(graph: Any, images: Iterator[dict[str, np.ndarray]]) -> Any:
    """Returns the model with the convolutions of its features in int8, all else in float32.

    Sums of residual blocks, and the few convolutions that read or yield an image or belong to the s
    head, lose more in int8 than they gain. Kernels have 7 bits, one scale per output channel: x86
    processors without VNNI add products of 8 bits in 16 bits, which overflow.

    Args:
        graph: model in float32.
        images: that determine the ranges of the maps.
    """
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    add_pre_process_metadata(graph)  # otherwise a warning; tf2onnx has optimized the graph
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        quantization.quantize_static(
            graph,
            path,
            _Reader(images),  # pyright: ignore[reportArgumentType]
            op_types_to_quantize=["Conv"],
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=[*_in_float(graph)],
        )
        return onnx.load(str(path))


def _in_float(graph: Any) -> Iterator[str]:
    """Yields the names of the convolutions that stay in float32."""
    nodes, channels = graph.graph.node, graph.graph.input[0].type.tensor_type.shape.dim[3].dim_value
    kernels = {tensor.name: tensor.dims for tensor in graph.graph.initializer}
    for node in nodes:
        if node.op_type == "Conv" and (
            LOG_SCALE in node.name or kernels[node.input[1]][1] == channels
        ):
            yield node.name
    producers = {name: node for node in nodes for name in node.output}
    before = [producers["sr"]]
    while before:
        node = before.pop()
        if node.op_type == "Conv":
            yield node.name
        elif node.op_type != "Shape":
            before += [producers[name] for name in node.input if name in producers]
