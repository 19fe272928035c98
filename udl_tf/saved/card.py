"""Metadata embedded in exported models, as JSON.

A TFLite file holds it as `model_card.json` in a ZIP archive appended to the model (`unzip` reads
it), an ONNX file in its metadata, a SavedModel in `assets/`; the signature model_card returns it.
"""

import json
import zipfile
import zlib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from udl_tf._support.json_files import parse_json, parse_model
from udl_tf.config import ModelConfig, Section, ValueRanges
from udl_tf.errors import UserError
from udl_tf.imaging.value_range import GREY_LEVELS, ValueRange
from udl_tf.uncertainty.record import Calibration

CARD = "model_card.json"

THETA_STEPS = 256.0
"""Factor by which theta is multiplied in a 16-bit PNG."""

EIGHT_BIT = [0, 255]
"""The range of models of 8-bit images."""

_LARGEST = 2**14  # side of a tile

Precision = Literal["float32", "float16", "int8"]


def _check_range(ranges: list[int] | ValueRanges) -> list[int] | ValueRanges:
    found = ValueRange.of(ranges)
    return EIGHT_BIT if found == GREY_LEVELS else found.ranges


def _check_outputs(names: list[str]) -> list[str]:
    if sorted(names) not in (["sr"], ["sr", "theta"]):
        raise ValueError("expected sr, or sr and theta")
    return names


# Earlier versions wrote, and read, [0, 255] as integers.
Range = Annotated[list[int] | ValueRanges, AfterValidator(_check_range)]
"""Values that networks see as 0 and 255: one pair, or one per channel."""


class ModelCard(Section):
    """The facts that users and runtimes need.

    Attributes:
        name: name of the model.
        format, precision: of the export.
        scale: HR size divided by LR size.
        range: values, in the unit of the training images, that are 0 and 255 in lr and sr.
        image_dtype, theta_dtype: dtypes of the tensors; uint8 theta is quantized.
        outputs: "sr", the image in grey levels 0..255, and "theta", the Laplace scale of its error
            in grey levels, corrected by `calibration` if that is given.
        architecture: arguments of build_model.
        parameters: number of weights that the export contains.
        border: LR pixels by which the graph mirrors its input outwards; 0: the caller does.
        smallest: least height and width of an input, LR pixels.
        tile: side of the only accepted input size, LR pixels; None: any size.
        radius: LR pixels on each side that an output pixel may depend on.
        margin: overlap of tiles on each side, LR pixels. Less than `radius` where that would cost
            too much; `parity` then states the difference at seams.
        align: tiles start at multiples of this, LR pixels.
        floats: most values alive at a time, per LR pixel.
        self_ensemble: whether sr and theta are means over the eight flips and rotations.
        max_pixels: largest image of a request, LR pixels; None: no limit.
        metrics: PSNR-Y and SSIM-Y of the trained networks in float32.
        calibration, training, licence, limits: as in the bundle (udl_tf.saved.bundle).
        versions: versions of the packages that exported the model.
        parity: differences from the Keras networks, of large theta relative to it
            (udl_tf.export.parity).
    """

    name: str
    format: Literal["savedmodel", "tflite", "onnx"]
    precision: Precision
    scale: int = Field(ge=2, le=4)
    range: Range = Field(default=EIGHT_BIT)
    image_dtype: Literal["uint8", "float32"] = "float32"
    theta_dtype: Literal["uint8", "float16", "float32"] = "float32"
    outputs: Annotated[list[Literal["sr", "theta"]], AfterValidator(_check_outputs)]
    architecture: ModelConfig
    parameters: int
    border: int = Field(ge=0)
    smallest: int = Field(ge=1, le=_LARGEST)
    tile: int | None = Field(default=None, ge=1, le=_LARGEST)
    radius: int = Field(ge=0)
    margin: int = Field(ge=0)
    align: int = Field(ge=1)
    floats: int = Field(ge=1)
    self_ensemble: bool = False
    max_pixels: int | None = Field(default=None, ge=1)
    metrics: list[dict[str, Any]] = Field(default=[])
    calibration: Calibration | None = None
    training: dict[str, Any] = Field(default={})
    licence: str = "not stated"
    limits: str = "not stated"
    versions: dict[str, str]
    parity: dict[str, Any] = Field(default={})

    @model_validator(mode="after")
    def _check_calibration(self) -> Self:
        if self.calibration is not None:
            self.calibration.check_channels(self.channels)
        return self

    @property
    def channels(self) -> int:
        """Number of channels of lr, sr and theta."""
        return self.architecture.channels

    @property
    def measures(self) -> bool:
        """Whether values are measurements of another range: neither clipped nor in 8 bits."""
        return self.range != EIGHT_BIT

    @property
    def takes_files(self) -> bool:
        """Whether a server takes image files: PNG, and for RGB also JPEG and WebP."""
        return self.channels in (1, 3, 4) and not self.measures

    @property
    def psnr(self) -> str:
        """Name of the PSNR of int8: that of the luma for RGB, else the mean over channels."""
        return "PSNR-Y" if self.channels == 3 else "PSNR"

    def summary(self) -> str:
        """Returns one line with the differences from the Keras networks."""
        found = self.parity
        seam = f"; seams of tiles {found['seam']:.2g} grey levels" if "seam" in found else ""
        if self.precision == "int8":
            return (
                f"int8 loses {found['psnr_loss']:.3f} dB of {self.psnr} on {found['patches']} real"
                f" patches (bound {found['bound']:g}){seam}"
            )
        worst = ", ".join(f"{name} {found[name]:.2g}" for name in self.outputs)
        return f"largest difference, grey levels: {worst} (bound {found['bound']:g}){seam}"

    def text(self) -> str:
        """Returns the card as JSON."""
        return json.dumps(self.model_dump(), indent=1) + "\n"


def parse_card(text: str | bytes, source: Path | str) -> ModelCard:
    """Parses the result of ModelCard.text; `source` is named in errors.

    Raises:
        UserError: if the text is not a model card.
    """
    card = f"{source} (model card)"
    return parse_model(parse_json(text, card, "export it again"), ModelCard, card)


def missing_card(source: Path | str) -> UserError:
    """Returns the error for a model without a card."""
    return UserError(
        f"{source}: contains no model card ({CARD}): expected a model exported by udl_tf"
    )


def write_with_card(path: Path, model: bytes, card: ModelCard) -> None:
    """Writes a TFLite file with the card appended, which runtimes ignore."""
    path.write_bytes(model)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(CARD, card.text())


def read_appended_card(path: Path) -> ModelCard:
    """Reads the card of a file that write_with_card wrote.

    Raises:
        UserError: if the file contains no card.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            text = archive.read(CARD)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError):
        raise missing_card(path) from None
    return parse_card(text, path)
