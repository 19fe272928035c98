"""Export to ONNX files for any batch and image size, in float32, float16 or int8."""

from pathlib import Path
from typing import Any

from udl_tf._support.files import complete_file
from udl_tf._support.versions import versions
from udl_tf.errors import needs_extra
from udl_tf.export.graph import UpscalingModule, check_suffix, make_card, read_run
from udl_tf.export.int8 import check_int8, representative
from udl_tf.export.onnx_int8 import convert_to_int8
from udl_tf.export.parity import check_parity, real_pairs
from udl_tf.saved.card import CARD, ModelCard, Precision
from udl_tf.saved.exported import open_onnx


def export_onnx(
    run: Path | str,
    output: Path | str,
    precision: Precision = "float32",
    opset: int = 18,
    uncertainty: bool = True,
    images: Path | None = None,
    licence: str | None = None,
) -> ModelCard:
    """Writes an .onnx file: `lr` float32 (n, h, w, c) -> `sr`, and `theta` with uncertainty.

    The file appears only when it has passed onnx.checker and the comparison with the Keras
    networks.

    Args:
        run: run folder, or name of a preset.
        output: the file.
        precision: "float32"; "float16": weights and arithmetic, but not inputs and outputs; "int8":
            convolutions, see udl_tf.export.onnx_int8.
        opset: 17 or 18.
        uncertainty: whether to export theta, if the model predicts it.
        images: folder of HR images for the comparison and the ranges of int8; None: the bundled
            ones.
        licence: of the weights, in words; None: the bundle's.

    Returns:
        The card in the file.

    Raises:
        UserError: if the result differs too much from the Keras networks, or packages are missing.
    """
    check_suffix(output, ".onnx")
    with needs_extra("onnx"):
        import onnx
        import onnxruntime  # noqa: F401  # missing packages are reported before the work begins
        import tf2onnx  # noqa: F401

    model = read_run(run)
    if precision == "int8":
        check_int8(model)
    card = make_card(
        run,
        model,
        uncertainty,
        format="onnx",
        precision=precision,
        licence=licence,
        versions=versions("onnx", "tf2onnx", "onnxruntime"),
    )
    pairs = real_pairs(model, images)
    graph = _convert(UpscalingModule(model, card), card, opset)
    if precision == "int8":
        graph = convert_to_int8(graph, representative(card, pairs))
    with complete_file(output) as temporary:
        _save(graph, card, temporary)
        onnx.checker.check_model(str(temporary), full_check=True)
        card = card.model_copy(update={"parity": check_parity(model, open_onnx(temporary), pairs)})
        _save(graph, card, temporary)
    return card


def _convert(module: UpscalingModule, card: ModelCard, opset: int) -> Any:
    """Returns the module as an ONNX model with named sizes."""
    import tf2onnx

    graph, _ = tf2onnx.convert.from_function(
        module.upscale, input_signature=module.signature, opset=opset
    )
    if card.precision == "float16":
        graph = _convert_to_float16(graph)
    inputs, outputs = graph.graph.input, graph.graph.output
    for tensors, times in ((inputs, ""), (outputs, f"{card.scale} ")):
        names = ("batch", f"{times}height", f"{times}width")
        for tensor in tensors:
            for size, name in zip(tensor.type.tensor_type.shape.dim, names, strict=False):
                size.dim_param = name
    return graph


def _convert_to_float16(graph: Any) -> Any:
    """Returns the model with weights and arithmetic in float16, inputs and outputs in float32."""
    from onnxruntime.transformers import float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    single = [*float16.DEFAULT_OP_BLOCK_LIST, "Cast"]
    model = OnnxModel(
        float16.convert_float_to_float16(graph, keep_io_types=True, op_block_list=single)
    )
    # tf2onnx computes the ends of slices as floats up to 1e9. The conversion casts them to float16,
    # where they overflow, between two nodes that stay in float32: skip those casts.
    to_half = {node.output[0]: node.input[0] for node in model.nodes() if _casts_to_half(node)}
    for node in model.nodes():
        if node.op_type == "Cast":
            node.input[0] = to_half.get(node.input[0], node.input[0])
    model.topological_sort()
    return model.model


def _casts_to_half(node: Any) -> bool:
    import onnx

    return node.op_type == "Cast" and node.attribute[0].i == onnx.TensorProto.FLOAT16


def _save(graph: Any, card: ModelCard, path: Path) -> None:
    import onnx

    del graph.metadata_props[:]
    onnx.helper.set_model_props(graph, {CARD: card.text()})
    onnx.save(graph, str(path))
