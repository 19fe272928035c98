"""TFLite files: builtin operators only, in float32, float16 or int8, of any size or one tile."""

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from udl_tf._support.files import complete_file
from udl_tf.errors import UserError
from udl_tf.export.graph import PictureModule, check_suffix, make_card, read_run
from udl_tf.export.parity import check, piece, real_pairs
from udl_tf.saved.card import ModelCard, Precision, write_with_card
from udl_tf.saved.exported import core_of_tile, open_tflite

_CALIBRATION_SIDE = 64  # of the pieces whose activations set int8's ranges, LR pixels


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
    """Writes a .tflite file, complete and checked or not at all.

    Args:
        run: run folder.
        output: the file.
        precision: "float32"; "float16": weights of half the size, computed in float32 on CPUs;
            "int8": weights and activations, with a uint8 picture in and out.
        tile: side of the only input size, LR pixels, as GPU and NPU delegates want it; the graph
            then mirrors nothing outwards. None: any size.
        margin: by which tiles are to overlap, LR pixels; None: what makes no seams, or what the
            card says.
        uncertainty: whether to make theta too, if the model has it.
        images: folder of HR images for the checks and int8's ranges; None: the bundled ones.
        licence: of the weights, in words; None: what the bundle states.

    Raises:
        UserError: if the result differs from the Keras networks by more than allowed, or the tile
            is too small for its margin.
    """
    check_suffix(output, ".tflite")
    model = read_run(run)
    facts = {} if margin is None else {"margin": margin}
    card = make_card(
        run,
        model,
        uncertainty,
        format="tflite",
        precision=precision,
        tile=tile,
        licence=licence,
        **({"image_dtype": "uint8", "theta_dtype": "uint8"} if precision == "int8" else {}),
        **({"border": 0, "smallest": tile} if tile else {}),
        **facts,
    )
    if tile is not None and core_of_tile(tile, card.margin, card.align) < 1:
        least = 2 * card.margin + card.align
        raise UserError(
            f"tile {tile}: tiles of {card.name} overlap by {card.margin} pixels on each side, so"
            f" {least} at least; or choose a smaller margin, which makes seams that are measured"
        )
    pairs = real_pairs(model.scale, images)
    with _elu_in_parts(model.networks.uncertainty if precision == "int8" else None):
        converted = _convert(PictureModule(model, card), card, pairs)
    with complete_file(output) as temporary:
        write_with_card(temporary, converted, card)
        parity = check(model, open_tflite(temporary), pairs)
        card = card.model_copy(update={"parity": parity})
        write_with_card(temporary, converted, card)
    return card


@contextmanager
def _elu_in_parts(network: keras.Model | None) -> Iterator[None]:
    """While a network is converted: ELU by operators that have an integer form, which it lacks."""
    elu = keras.activations.elu
    layers = [x for x in network.layers if getattr(x, "activation", None) is elu] if network else []
    for layer in layers:
        # x - relu(x) is min(x, 0), which the converter would give the range of x.
        layer.activation = lambda x: tf.nn.relu(x) + (tf.exp(x - tf.nn.relu(x)) - 1.0)
    try:
        yield
    finally:
        for layer in layers:
            layer.activation = elu


def _convert(module: PictureModule, card: ModelCard, pairs: Sequence) -> bytes:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the converter's, of its own interpreter
        # By way of a SavedModel, outputs keep their names.
        tf.saved_model.save(module, folder, signatures=module.picture)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if card.precision != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if card.precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if card.precision == "int8":
            converter.representative_dataset = lambda: _representative(card, pairs)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = tf.uint8
            converter.inference_output_type = tf.uint8
        return converter.convert()


def _representative(card: ModelCard, pairs: Sequence) -> Iterator[dict[str, np.ndarray]]:
    """Pieces of LR pictures, and plain black and white, so that uint8's 0..255 is what goes in."""
    side = card.tile or _CALIBRATION_SIDE
    for lr, _ in pairs:
        yield {"lr": piece(lr, (side, side))[None].astype(np.float32)}
    for plain in (0.0, 255.0):
        yield {"lr": np.full((1, side, side, 3), plain, np.float32)}
