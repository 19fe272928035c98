"""What an exported model says of itself, as JSON inside the export.

A TFLite file carries it as `model_card.json` in a ZIP archive behind the model (`unzip` finds it),
an ONNX file in its metadata, a SavedModel in `assets/`, from where a signature answers it.
"""

import json
import zipfile
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from udl_tf._support.json_files import parse_json, parse_model
from udl_tf.config import ModelConfig, Section
from udl_tf.errors import UserError
from udl_tf.uncertainty.record import Calibration

CARD = "model_card.json"

THETA_STEPS = 256.0
"""Where theta comes as a 16-bit PNG, its values are theta times this."""

Precision = Literal["float32", "float16", "int8"]


class ModelCard(Section):
    """The facts that a user and a runtime need.

    Attributes:
        name: of the model.
        format, precision: of the export.
        scale: HR over LR size.
        range: of lr and sr, RGB.
        image_dtype, theta_dtype: of the tensors; uint8 theta has a scale of its own.
        outputs: "sr", in grey levels 0..255, and "theta", the Laplace scale of its error,
            calibrated if `calibration` is there.
        architecture, parameters: the networks, and how many numbers they hold.
        border: LR pixels that the graph itself mirrors outwards; 0: the caller does.
        smallest: least side of an input, LR pixels.
        tile: side of the only input size, LR pixels; None: any size.
        radius: LR pixels on each side that an output pixel may depend on.
        margin: by which tiles overlap on each side; less than `radius` where tiles that overlap by
            it cost too much: `parity.seam` then tells the difference that remains.
        align: tiles start at multiples of it, LR pixels.
        floats: most floats alive at a time, for each LR pixel.
        self_ensemble: whether sr and theta are means over the eight flips and rotations.
        max_pixels: of a served picture; None: no limit.
        metrics: PSNR-Y and SSIM-Y of the trained networks in float32.
        calibration, training, licence, limits: as of the bundle.
        versions: what it was exported with.
        parity: how far it is from the networks in Keras.
    """

    name: str
    format: Literal["savedmodel", "tflite", "onnx"]
    precision: Precision
    scale: int
    range: list[int] = Field(default=[0, 255])
    image_dtype: Literal["uint8", "float32"] = "float32"
    theta_dtype: Literal["uint8", "float16", "float32"] = "float32"
    outputs: list[Literal["sr", "theta"]]
    architecture: ModelConfig
    parameters: int
    border: int
    smallest: int
    tile: int | None = None
    radius: int
    margin: int
    align: int
    floats: int
    self_ensemble: bool = False
    max_pixels: int | None = None
    metrics: list[dict[str, Any]] = Field(default=[])
    calibration: Calibration | None = None
    training: dict[str, Any] = Field(default={})
    licence: str = "not stated"
    limits: str = "not stated"
    versions: dict[str, str]
    parity: dict[str, Any] = Field(default={})

    def summary(self) -> str:
        """How far the export is from the networks in Keras, in a line."""
        found = self.parity
        seam = f"; seams of tiles {found['seam']:.2g} grey levels" if "seam" in found else ""
        if self.precision == "int8":
            return (
                f"int8 loses {found['psnr_loss']:.3f} dB of PSNR-Y on {found['patches']} real"
                f" patches (bound {found['bound']:g}){seam}"
            )
        worst = ", ".join(f"{name} {found[name]:.2g}" for name in self.outputs)
        return f"largest difference, grey levels: {worst} (bound {found['bound']:g}){seam}"

    def text(self) -> str:
        """The JSON."""
        return json.dumps(self.model_dump(), indent=1) + "\n"


def parse_card(text: str | bytes, source: Path | str) -> ModelCard:
    """Reads ModelCard.text.

    Raises:
        UserError: naming `source`, for anything else.
    """
    card = f"{source} (model card)"
    return parse_model(parse_json(text, card, "export it again"), ModelCard, card)


def no_card(source: Path | str, tool: str) -> UserError:
    """The error for a model that holds none."""
    return UserError(f"{source}: holds no model card; expected what tools/{tool}.py makes")


def write_with_card(path: Path, model: bytes, card: ModelCard) -> None:
    """Writes a TFLite file with the card behind it, which runtimes do not see."""
    path.write_bytes(model)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(CARD, card.text())


def read_appended_card(path: Path) -> ModelCard:
    """Reads what write_with_card wrote.

    Raises:
        UserError: if there is none.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            text = archive.read(CARD)
    except (zipfile.BadZipFile, KeyError):
        raise no_card(path, "export_tflite") from None
    return parse_card(text, path)
