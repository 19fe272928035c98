"""ONNX files for onnxruntime and others, of any batch and size, in float32 or float16."""

from pathlib import Path
from typing import Any

from udl_tf._support.files import complete_file
from udl_tf._support.versions import versions
from udl_tf.errors import needs_extra
from udl_tf.export.graph import PictureModule, check_suffix, make_card, read_run
from udl_tf.export.parity import check, real_pairs
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
    """Writes an .onnx file: `lr` float32 (n, h, w, 3) -> `sr`, and `theta` with uncertainty.

    It appears complete, checked by onnx.checker and beside the Keras networks, or not at all.

    Args:
        run: run folder.
        output: the file.
        precision: "float32"; "float16": weights and arithmetic, inputs and outputs stay float32.
        opset: 17 or 18.
        uncertainty: whether to make theta too, if the model has it.
        images: folder of HR images for the check; None: the bundled ones.
        licence: of the weights, in words; None: what the bundle states.

    Raises:
        UserError: if the result differs from the Keras networks by more than allowed, or packages
            are missing.
    """
    check_suffix(output, ".onnx")
    with needs_extra("onnx"):
        import onnx
        import onnxruntime  # noqa: F401  # before the work begins
        import tf2onnx

    model = read_run(run)
    card = make_card(
        run,
        model,
        uncertainty,
        format="onnx",
        precision=precision,
        licence=licence,
        versions=versions("onnx", "tf2onnx", "onnxruntime"),
    )
    pairs = real_pairs(model.scale, images)
    module = PictureModule(model, card)
    graph, _ = tf2onnx.convert.from_function(
        module.picture, input_signature=module.signature, opset=opset
    )
    if precision == "float16":
        graph = _halved(graph)
    for tensor in (*graph.graph.input, *graph.graph.output):
        times = "" if tensor in graph.graph.input else f"{card.scale} "
        sizes = ("batch", f"{times}height", f"{times}width")
        for size, name in zip(tensor.type.tensor_type.shape.dim, sizes, strict=False):
            size.dim_param = name
    with complete_file(output) as temporary:
        _save(graph, card, temporary)
        onnx.checker.check_model(str(temporary), full_check=True)
        card = card.model_copy(update={"parity": check(model, open_onnx(temporary), pairs)})
        _save(graph, card, temporary)
    return card


def _halved(graph: Any) -> Any:
    """The same in float16, but for inputs and outputs."""
    from onnxruntime.transformers import float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    single = [*float16.DEFAULT_OP_BLOCK_LIST, "Cast"]
    halved = OnnxModel(
        float16.convert_float_to_float16(graph, keep_io_types=True, op_block_list=single)
    )
    # tf2onnx computes the ends of slices as floats up to 1e9, which overflow on their way from one
    # float32 node through float16 to the next.
    to_half = {node.output[0]: node.input[0] for node in halved.nodes() if _casts_to_half(node)}
    for node in halved.nodes():
        if node.op_type == "Cast":
            node.input[0] = to_half.get(node.input[0], node.input[0])
    halved.topological_sort()
    return halved.model


def _casts_to_half(node: Any) -> bool:
    import onnx

    return node.op_type == "Cast" and node.attribute[0].i == onnx.TensorProto.FLOAT16


def _save(graph: Any, card: ModelCard, path: Path) -> None:
    import onnx

    del graph.metadata_props[:]
    onnx.helper.set_model_props(graph, {CARD: card.text()})
    onnx.save(graph, str(path))
