"""Export to TFLite files in float32, float16 or int8, for any image size or one tile."""

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from udl_tf._support.files import complete_file
from udl_tf.errors import UserError
from udl_tf.export.graph import UpscalingModule, check_suffix, make_card, read_run
from udl_tf.export.int8 import check_int8, representative
from udl_tf.export.parity import Pair, check_parity, real_pairs
from udl_tf.inference.keras_upscaler import KerasUpscaler
from udl_tf.saved.card import ModelCard, Precision, write_with_card
from udl_tf.saved.exported import open_tflite
from udl_tf.saved.windows import core_of_tile


def export_tflite(
    run: Path | str,
    output: Path | str,
    precision: Precision = "float32",
    tile: int | None = None,
    margin: int | None = None,
    uncertainty: bool = True,
    images: Path | None = None,
    licence: str | None = None,
) -> ModelCard:
    """Writes a .tflite file of builtin operators: `lr` (n, h, w, c) -> `sr`, `theta`.

    The file is written only after it has been compared with the Keras networks.

    Args:
        run: run folder, or name of a preset.
        output: the file.
        precision: "float32"; "float16": weights only, CPUs compute in float32; "int8": weights
            and activations, with uint8 inputs and outputs.
        tile: side of the only accepted input size, LR pixels, as GPU and NPU delegates need it; the
            graph then does not pad its input by reflection. None: any size.
        margin: overlap of tiles on each side, LR pixels; None: enough to avoid seams, or 48 for
            networks with a large receptive field.
        uncertainty: whether to export theta, if the model predicts it.
        images: folder of HR images for the comparison and the ranges of int8; None: the bundled
            ones.
        licence: of the weights, in words; None: the bundle's.

    Returns:
        The card in the file.

    Raises:
        UserError: if the result differs too much from the Keras networks, or the tile is too small
            for its margin.
    """
    check_suffix(output, ".tflite")
    model = read_run(run)
    facts = _facts(model, precision, tile, margin)
    card = make_card(run, model, uncertainty, licence, **facts)
    if tile is not None and core_of_tile(tile, card.margin, card.align) < 1:
        raise UserError(
            f"tile {tile}: tiles of {card.name} overlap by {card.margin} pixels on each side:"
            f" choose a tile of at least {2 * card.margin + card.align}, or a smaller margin (the"
            " export then states the difference at seams)"
        )
    pairs = real_pairs(model, images)
    converted = _finished(_convert(UpscalingModule(model, card), card, pairs), card)
    with complete_file(output) as temporary:
        write_with_card(temporary, converted, card)
        parity = check_parity(model, open_tflite(temporary), pairs)
        card = card.model_copy(update={"parity": parity})
        write_with_card(temporary, converted, card)
    return card


def _facts(
    model: KerasUpscaler, precision: Precision, tile: int | None, margin: int | None
) -> dict[str, Any]:
    """Returns the fields of the card that depend on the format."""
    facts: dict[str, Any] = {"format": "tflite", "precision": precision, "tile": tile}
    if precision == "int8":
        check_int8(model)
        facts |= {"image_dtype": "uint8", "theta_dtype": "uint8"}
    if tile is not None:
        facts |= {"border": 0, "smallest": tile}
    if margin is not None:
        facts["margin"] = margin
    return facts


def _convert(module: UpscalingModule, card: ModelCard, pairs: Sequence[Pair]) -> bytes:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # The converter itself uses the deprecated tf.lite.Interpreter.
        warnings.simplefilter("ignore")
        # Converting by way of a SavedModel preserves the names of outputs.
        tf.saved_model.save(module, folder, signatures=module.upscale)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if card.precision != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if card.precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if card.precision == "int8":
            converter.representative_dataset = lambda: representative(card, pairs)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = tf.uint8
            converter.inference_output_type = tf.uint8
        return converter.convert()


def _finished(model: bytes, card: ModelCard) -> bytes:
    """Corrects what the converter gets wrong: names, and levels of int8."""
    content = flatbuffer_utils.convert_bytearray_to_object(bytearray(model))
    _name_tensors(content, card)
    if card.precision == "int8":
        _keep_levels_of_anchors(content)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(content))


def _name_tensors(content: schema.ModelT, card: ModelCard) -> None:
    """Names inputs and outputs as the signature does, and orders the outputs as the card does.

    The converter keeps neither: only runtimes that know signatures could tell sr from theta.
    """
    (signature,), graph = content.signatureDefs, content.subgraphs[0]
    for entry in (*signature.inputs, *signature.outputs):
        graph.tensors[entry.tensorIndex].name = entry.name
    index = {entry.name.decode(): entry.tensorIndex for entry in signature.outputs}
    graph.outputs = [index[name] for name in card.outputs]


def _keep_levels_of_anchors(content: schema.ModelT) -> None:
    """Gives the levels of the LR image to its enlargement by nearest neighbours, before a sum.

    A convolution that copies channels enlarges it. TFLite adds to its output in place, so that the
    converter measures the range of the sum instead: steps of 1.2 grey levels. The enlargement that
    a theta head subtracts from the result keeps the converter's range: if both were whole grey
    levels, so would be the difference, and small theta would be twice as inexact.
    """
    graph = content.subgraphs[0]

    def operators(kind: int) -> list[schema.OperatorT]:
        codes = [code.builtinCode for code in content.operatorCodes]
        return [operator for operator in graph.operators if codes[operator.opcodeIndex] == kind]

    added = {index for sum_ in operators(schema.BuiltinOperator.ADD) for index in sum_.inputs}
    for convolution in operators(schema.BuiltinOperator.CONV_2D):
        source, kernel = (graph.tensors[index] for index in convolution.inputs[:2])
        steps = np.frombuffer(content.buffers[kernel.buffer].data, np.int8)
        values = steps.reshape(kernel.shape[0], -1) * np.reshape(kernel.quantization.scale, (-1, 1))
        ones = np.isclose(values, 1)
        copies = (ones.sum(axis=1) == 1).all() and not values[~ones].any()
        if copies and convolution.outputs[0] in added:
            own = graph.tensors[convolution.outputs[0]].quantization
            own.scale, own.zeroPoint = source.quantization.scale, source.quantization.zeroPoint
