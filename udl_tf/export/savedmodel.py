"""Export to SavedModels for TensorFlow Serving, which loads them from BASE/VERSION."""

import math
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from udl_tf._support.files import complete_folder, write_text
from udl_tf.errors import UserError, needs_extra
from udl_tf.export.graph import make_card, read_run
from udl_tf.export.parity import Step, check_parity, real_pairs
from udl_tf.export.served import ServedModule
from udl_tf.inference.keras_upscaler import KerasUpscaler
from udl_tf.saved.card import CARD, ModelCard
from udl_tf.saved.exported import open_savedmodel, version_numbers

MAX_PIXELS = 2048**2
_WARMUP_SIDE = 32  # LR pixels


def export_savedmodel(
    run: Path | str,
    base: Path | str,
    version: int | None = None,
    uncertainty: bool = True,
    self_ensemble: bool = False,
    max_pixels: int = MAX_PIXELS,
    image_dtype: str | None = None,
    theta_dtype: str = "float32",
    memory_gb: float | None = None,
    warmup: bool = True,
    images: Path | None = None,
    licence: str | None = None,
) -> tuple[Path, ModelCard]:
    """Writes BASE/VERSION, which appears only when it has been compared with the Keras networks.

    Args:
        run: run folder, or name of a preset.
        base: folder of the model, whose name is the name of the model on the server.
        version: number of the version; None: one more than the highest so far.
        uncertainty: whether to export theta, if the model predicts it.
        self_ensemble: whether to average over the eight flips and rotations, eight times slower.
        max_pixels: largest image of a request (height times width, LR pixels); others are refused.
        image_dtype: "uint8" or "float32"; None: the first, or the second for a model with a value
            range of its own, which supports no other.
        theta_dtype: "float32", or "float16", which is available by gRPC only.
        memory_gb: working memory in addition to the result; None: 1 GB, or more for DPDNN.
        warmup: whether to add warm-up requests, without which the first request is slower.
        images: folder of HR images for the comparison; None: the bundled ones.
        licence: of the weights, in words; None: the bundle's.

    Returns:
        (folder of the version, its card).

    Raises:
        UserError: if the result differs too much from the Keras networks, the version exists, or
            packages are missing.
    """
    _check_number("max_pixels", max_pixels)
    folder = _new_version(Path(base), version)
    if warmup:
        with needs_extra("serve"):
            import tensorflow_serving.apis  # noqa: F401  # reported before the work begins
    model = read_run(run)
    facts = {
        "format": "savedmodel",
        "precision": "float32",
        "smallest": 1,
        "self_ensemble": self_ensemble,
        "max_pixels": max_pixels,
        "image_dtype": _image_dtype(model, image_dtype),
        "theta_dtype": theta_dtype,
    }
    card = make_card(run, model, uncertainty, licence, **facts)
    with complete_folder(folder) as temporary:
        _save(model, card, temporary, memory_gb)
        card = _add_parity(model, card, temporary, images)
        if warmup:
            _write_warmup(temporary, folder.parent.name, card)
    return folder, card


def _image_dtype(model: KerasUpscaler, chosen: str | None) -> str:
    """Returns the dtype of images: the chosen one, or uint8 if that has enough values."""
    if not model.measures:
        return chosen or "uint8"
    if chosen == "uint8":
        raise UserError(
            f"uint8 has too few values for a model with the value range {model.value_range.ranges}:"
            " choose float32",
            argument="image_type",
        )
    return "float32"


def _check_number(name: str, value: int) -> None:
    """Requires a positive number of at most 64 bits, as graphs and servers store it."""
    if not 0 < value < 2**63:
        raise UserError(f"{name} {value}; expected 1..{2**63 - 1}", argument=name)


def _new_version(base: Path, version: int | None) -> Path:
    """Returns the folder of a version, by default one more than the highest so far."""
    if version is not None:
        _check_number("version", version)
    folder = base / str(version or max([0, *version_numbers(base)]) + 1)
    if folder.exists():
        raise UserError(f"{folder}: already exists: choose another version", argument="version")
    return folder


def _save(model: KerasUpscaler, card: ModelCard, folder: Path, memory_gb: float | None) -> None:
    dtypes = tf.as_dtype(card.image_dtype), tf.as_dtype(card.theta_dtype)
    with tempfile.TemporaryDirectory() as temporary:
        card_file = Path(temporary) / CARD
        write_text(card_file, card.text())
        module = ServedModule(model, card, card_file, *dtypes, memory_gb)
        tf.saved_model.save(module, str(folder), signatures=module.endpoints)


def _add_parity(
    model: KerasUpscaler, card: ModelCard, folder: Path, images: Path | None
) -> ModelCard:
    """Compares the export with the Keras networks; writes and returns its card with the result."""
    steps: dict[str, Step] = {} if card.measures else {"sr": np.ones_like}
    if card.theta_dtype == "float16":
        steps["theta"] = lambda theta: np.spacing(theta.astype(np.float16))
    pairs = real_pairs(model, images)
    parity = check_parity(model, open_savedmodel(folder), pairs, steps)
    card = card.model_copy(update={"parity": parity})
    write_text(folder / "assets" / CARD, card.text())
    return card


def _write_warmup(folder: Path, name: str, card: ModelCard) -> None:
    """Writes a request per upscaling signature; TensorFlow Serving replays them when it starts."""
    from tensorflow_serving.apis import prediction_log_pb2

    side = min(_WARMUP_SIDE, math.isqrt(card.max_pixels or _WARMUP_SIDE**2))
    image = tf.zeros((1, side, side, card.channels), tf.uint8)
    numbers = {"image": tf.cast(image, card.image_dtype)}
    requests = {"serving_default": numbers, "sr_only": numbers}
    if card.takes_files:
        file = {"image_bytes": tf.io.encode_png(image)}
        requests |= {"image_bytes": file, "image_bytes_sr_only": file}
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests.items():
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.model_spec.name = name
            log.predict_log.request.model_spec.signature_name = signature
            for key, value in inputs.items():
                log.predict_log.request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
            writer.write(log.SerializeToString())
