"""How far an export is from the networks in Keras, on pieces of real pictures."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from udl_tf.data.sources import bundled_dataset, folder_dataset
from udl_tf.data.store import read_pair
from udl_tf.errors import UserError
from udl_tf.imaging.dtypes import to_dtype
from udl_tf.inference.keras_upscaler import KerasUpscaler
from udl_tf.metrics import psnr_y
from udl_tf.saved.card import ModelCard
from udl_tf.saved.exported import ExportedUpscaler, core_of_tile

BOUNDS = {"float32": 1e-3, "float16": 1.0}
"""Largest difference of image and theta, grey levels."""
INT8_BOUND = 0.3
"""Largest loss of PSNR-Y, dB."""
Difference = Callable[[np.ndarray, np.ndarray], float]
"""(the export's map, Keras' map) -> grey levels."""


class TooFar(UserError):
    """An export differs from the networks by more than its bound."""


_LARGEST_THETA = 255.0  # beyond, no picture's error goes: larger values count as this


def sizes(card: ModelCard) -> list[tuple[int, int]]:
    """Of the pictures that are compared: (height, width), LR pixels."""
    if card.tile:
        return [(card.tile, card.tile)] * 4
    usual = [(card.smallest, card.smallest), (17, 23), (32, 32), (61, 96)]
    return [(h, w) for h, w in usual if card.max_pixels is None or h * w <= card.max_pixels]


def real_pairs(scale: int, images: Path | None) -> list[tuple[np.ndarray, np.ndarray]]:
    """(lr, hr) of the HR images in a folder; None: of those that come with the package."""
    if images is None:
        sources = [*bundled_dataset("train").sources, *bundled_dataset("test").sources]
    else:
        sources = folder_dataset(images, scale).sources
    return [read_pair(source, scale) for source in sources]


def check(
    model: KerasUpscaler,
    made: ExportedUpscaler,
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    differences: Mapping[str, Difference] | None = None,
) -> dict[str, Any]:
    """Runs an export beside the Keras networks.

    Args:
        model, made: what was exported, and the result.
        pairs: real pictures (lr, hr), of which pieces are taken.
        differences: how an output is compared, by name; largest_difference where none is given.

    Returns:
        For the card: the sizes; for float exports the largest difference of each output, grey
        levels; for int8 the loss of PSNR-Y, dB; the bound; and for tiles that overlap by less than
        the receptive radius `seam`, the largest difference that this makes, grey levels.

    Raises:
        TooFar: if a bound is exceeded.
    """
    card = made.card
    report: dict[str, Any] = {}
    if card.precision == "int8":
        report |= _psnr_loss(model, made, pairs)
        if not report["psnr_loss"] <= INT8_BOUND:
            raise TooFar(
                f"int8 loses {report['psnr_loss']:.2f} dB of PSNR-Y on {report['patches']} real"
                f" patches; at most {INT8_BOUND} dB is allowed: export float16, or give --images"
                " like those it will see"
            )
    else:
        report |= _differences(model, made, pairs, differences or {})
        worst = max(report[name] for name in card.outputs)
        if not worst <= report["bound"]:
            found = ", ".join(f"{name} {report[name]:.2g}" for name in card.outputs)
            raise TooFar(
                f"the export differs from the Keras networks by {found} grey levels; at most"
                f" {report['bound']:g} is allowed for {card.precision}"
            )
    if card.margin < card.radius:
        report["seam"] = _seam(model, made, pairs)
    return report


def largest_difference(made: np.ndarray, expected: np.ndarray | float) -> float:
    """The largest absolute difference; infinite where a value is no number."""
    difference = np.abs(made - expected)
    return float(difference.max()) if np.isfinite(difference).all() else np.inf


def beyond_rounding(step: Callable[[np.ndarray], Any]) -> Difference:
    """The largest difference, less the half of the grid's `step` that rounding may make of it."""

    def difference(made: np.ndarray, expected: np.ndarray) -> float:
        return largest_difference(np.maximum(np.abs(made - expected) - step(expected) / 2, 0), 0)

    return difference


def _differences(model, made, pairs, differences) -> dict[str, Any]:
    card = made.card
    worst = dict.fromkeys(card.outputs, 0.0)
    for index, size in enumerate(sizes(card)):
        lr = piece(pairs[index % len(pairs)][0], size).astype(np.float32)
        expected = _keras(model, card, lr)
        result = made.forward(lr[None], card.outputs)
        for name in card.outputs:
            value = np.minimum(_kept(card, result[name][0]), _LARGEST_THETA)
            reference = _kept(card, expected[name])
            found = differences.get(name, largest_difference)(value, reference)
            worst[name] = max(worst[name], found)
    return {"sizes": sizes(card), **worst, "bound": BOUNDS[card.precision]}


def _kept(card: ModelCard, tile: np.ndarray) -> np.ndarray:
    """What is kept of a map of a fixed tile; a map of another export as it is."""
    edge = card.margin * card.scale if card.tile else 0
    return tile[edge : tile.shape[0] - edge, edge : tile.shape[1] - edge]


def _keras(model: KerasUpscaler, card: ModelCard, lr: np.ndarray) -> dict[str, np.ndarray]:
    if card.format == "savedmodel":
        whole = model.upscale(lr, self_ensemble=card.self_ensemble)
        sr, theta = whole.image, whole.theta
    else:
        sr, theta = model.predict(lr, card.border)
    made = {"sr": np.clip(sr, 0, 255)}
    return made if theta is None else {**made, "theta": np.minimum(theta, _LARGEST_THETA)}


def _psnr_loss(model, made, pairs) -> dict[str, Any]:
    """Mean over the pictures of PSNR-Y in float32 minus that of the export, on a piece of each."""
    card = made.card
    size = sizes(card)[-1]
    losses, ratios = [], []
    for lr, hr in pairs:
        lr_piece, hr_piece = piece(lr, size), piece(hr, size, card.scale)
        expected = _keras(model, card, lr_piece.astype(np.float32))
        result = made.forward(lr_piece[None].astype(np.float32), card.outputs)
        values = [psnr_y(to_dtype(_kept(card, sr), np.uint8), _kept(card, hr_piece), card.scale) for sr in
                  (expected["sr"], result["sr"][0])]  # fmt: skip
        if np.isfinite(values).all():
            losses.append(values[0] - values[1])
        if "theta" in card.outputs:
            ratio = result["theta"][0] / expected["theta"]
            ratios.append(np.median(np.abs(_kept(card, ratio) - 1)))
    theta = {"theta_median_relative": float(np.mean(ratios))} if ratios else {}
    loss = float(np.mean(losses)) if losses else np.inf
    return {"patches": len(losses), "psnr_loss": loss, **theta, "bound": INT8_BOUND}


def _seam(model, made, pairs) -> float:
    """Difference of the image between tiles and the whole, on a strip of the largest picture.

    The strip is as wide as two tiles, so a seam crosses it. The whole is the export's own, but for
    fixed tiles, which have none: there it is that of Keras.
    """
    card = made.card
    tile = None if card.tile else card.margin + 20
    width = 2 * (tile or core_of_tile(card.tile, card.margin, card.align))
    lr = max((lr for lr, _ in pairs), key=np.size)
    lr = piece(lr, (card.tile or 32, max(width, 32))).astype(np.float32)
    whole = (model if card.tile else made).upscale(lr, uncertainty=False).image
    tiled = made.upscale(lr, uncertainty=False, tile=tile).image
    return largest_difference(tiled, whole)


def piece(image: np.ndarray, size: tuple[int, int], scale: int = 1) -> np.ndarray:
    """The middle of an image, mirrored outwards if it is too small.

    Args:
        image: (h, w, c).
        size: of the piece, (height, width) in LR pixels.
        scale: of the image: 1 for an LR image.
    """
    for axis, length in enumerate(size):
        has = image.shape[axis] // scale
        pad = [(0, 0)] * 3
        pad[axis] = (0, scale * max(0, length - has))
        start = scale * (max(0, has - length) // 2)
        image = np.pad(image, pad, "symmetric")
        image = np.take(image, range(start, start + scale * length), axis)
    return image
