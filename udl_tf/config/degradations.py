"""Degradations of LR images: operations with ranges for training, and their short text form."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, ValidationError

from udl_tf.config.base import Section
from udl_tf.errors import UserError, nearest


def _ascending(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError("expected [lowest, highest]")
    return bounds


_Quality = Annotated[int, Field(ge=1, le=100)]
_Qualities = Annotated[tuple[_Quality, _Quality], Field(strict=False), AfterValidator(_ascending)]
_Level = Annotated[float, Field(ge=0)]
_Levels = Annotated[tuple[_Level, _Level], Field(strict=False), AfterValidator(_ascending)]
Subsampling = Literal["4:4:4", "4:2:2", "4:2:0"]
"""Chroma subsampling of JPEG."""


class _Operation(Section):
    """Degradation of an LR image; the strength is drawn uniformly from a range.

    Attributes:
        strength: name of the key that holds the range.
    """

    strength: ClassVar[str]

    kind: str
    probability: float = Field(
        default=1.0, ge=0, le=1, description="probability that an image or patch is degraded"
    )

    @property
    def text(self) -> str:
        """Short form, such as "jpeg:75" or "jpeg:30..95 on 85 %"."""
        low, high = getattr(self, self.strength)
        bounds = f"{low:g}" if low == high else f"{low:g}..{high:g}"
        share = f" on {100 * self.probability:g} %" if self.probability < 1 else ""
        return f"{self.kind}:{bounds}{share}"


class Jpeg(_Operation):
    """Compression by JPEG."""

    strength: ClassVar[str] = "quality"

    kind: Literal["jpeg"]
    quality: _Qualities = Field(description="lowest and highest quality, 1..100, as in libjpeg")
    subsampling: Annotated[tuple[Subsampling, ...], Field(strict=False, min_length=1)] = Field(
        default=("4:2:0",), description="chroma subsamplings, one of which is drawn"
    )


class Webp(_Operation):
    """Compression by lossy WebP."""

    strength: ClassVar[str] = "quality"

    kind: Literal["webp"]
    quality: _Qualities = Field(description="lowest and highest quality, 1..100, as in libwebp")


class Noise(_Operation):
    """Gaussian noise."""

    strength: ClassVar[str] = "sigma"

    kind: Literal["noise"]
    sigma: _Levels = Field(description="lowest and highest standard deviation, grey levels")
    grey: bool = Field(default=False, description="whether all channels get the same noise")


class Poisson(_Operation):
    """Poisson noise, as of photons: its variance is proportional to the value of a pixel."""

    strength: ClassVar[str] = "sigma"

    kind: Literal["poisson"]
    sigma: _Levels = Field(
        description="lowest and highest standard deviation at white (255), grey levels"
    )


class Blur(_Operation):
    """Gaussian blur."""

    strength: ClassVar[str] = "sigma"

    kind: Literal["blur"]
    sigma: _Levels = Field(description="lowest and highest standard deviation, LR pixels")
    anisotropic: bool = Field(
        default=False,
        description="whether to draw two standard deviations, along axes of random direction",
    )


Degradation = Annotated[Jpeg | Webp | Noise | Poisson | Blur, Field(discriminator="kind")]
"""One operation of a list."""

_KINDS = {"jpeg": Jpeg, "webp": Webp, "noise": Noise, "poisson": Poisson, "blur": Blur}


def parse_degradations(text: str) -> tuple[Degradation, ...]:
    """Parses the short form of operations, which degradations_text writes.

    Examples: "blur:1.2+noise:5+jpeg:75", applied in this order; "noise:0..4 on 30 % + jpeg:30..95".
    The strength is the quality of jpeg and webp, and sigma of noise, poisson and blur.

    Raises:
        UserError: for an unknown operation or a strength that it does not take.
    """
    try:
        return tuple(_parse(part) for part in text.split("+"))
    except UserError as error:
        raise UserError(
            f"{error}: expected operations with their strength, such as blur:1.2+noise:5+jpeg:75",
            argument="degrade",
        ) from None


def _parse(text: str) -> Degradation:
    operation, on, share = text.partition(" on ")
    kind, _, strength = operation.strip().partition(":")
    if kind not in _KINDS:
        raise UserError(f"degradation {kind!r} is unknown, {nearest(kind, _KINDS)}")
    bounds = [_number(kind, "strength", bound) for bound in strength.split("..")]
    fields = {"kind": kind, _KINDS[kind].strength: bounds * 2 if len(bounds) == 1 else bounds}
    if on:
        fields["probability"] = _number(kind, "share", share.strip().removesuffix("%")) / 100
    try:
        return _KINDS[kind].model_validate(fields)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UserError(f"degradation {text.strip()}: {reason[0].lower()}{reason[1:]}") from None


def _number(kind: str, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise UserError(f"degradation {kind!r} has {name} {text!r}, not a number") from None
    return int(value) if value.is_integer() else value


def degradations_text(operations: Sequence[Degradation]) -> str:
    """Returns the short form of operations, which has no options such as chroma subsampling."""
    return " + ".join(operation.text for operation in operations)
