"""Comparison of an export with the Keras networks, on pieces of real images."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from udl_tf.data.pixels import Pixels, without_holes
from udl_tf.data.sources import bundled_dataset, folder_dataset
from udl_tf.data.store import read_pair
from udl_tf.errors import UserError
from udl_tf.imaging.dtypes import to_dtype
from udl_tf.imaging.value_range import GREY_LEVELS
from udl_tf.inference.keras_upscaler import KerasUpscaler
from udl_tf.inference.measurements import compute
from udl_tf.inference.passes import BORDER, Effort, Wanted
from udl_tf.metrics import psnr, psnr_y
from udl_tf.saved.card import ModelCard, Precision
from udl_tf.saved.exported import ExportedUpscaler
from udl_tf.saved.windows import core_of_tile

BOUNDS = {"float32": 1e-3, "float16": 1.0}
"""Largest difference of image and theta by precision, grey levels."""
RELATIVE_ABOVE = {"float32": 1.0, "float16": 10.0}
"""Grey levels above which theta's bound grows in proportion to it: to 0.1 % or 10 % of it."""
_SMALLEST_THETA = 0.01  # grey levels; smaller ones, which a linear head may predict, count as this
INT8_BOUND = 0.3
"""Largest loss of PSNR, dB."""
Step = Callable[[np.ndarray], Any]
"""Expected values -> step of the grid to which the export rounds them."""
Pair = tuple[np.ndarray, np.ndarray]
"""(lr, hr), each (h, w, c) in 0..255: uint8, or float32 for measurements, whose hr may hold NaN."""


class ParityError(UserError):
    """An export differs from the Keras networks by more than its bound."""


def compared_sizes(card: ModelCard) -> list[tuple[int, int]]:
    """Returns the sizes (height, width), LR pixels, of the images that are compared."""
    if card.tile:
        return [(card.tile, card.tile)] * 4
    sizes = [(card.smallest, card.smallest), (17, 23), (32, 32), (61, 96)]
    return [(h, w) for h, w in sizes if card.max_pixels is None or h * w <= card.max_pixels]


def real_pairs(model: KerasUpscaler, images: Path | None) -> list[Pair]:
    """Returns the pairs of the HR images in a folder; None: of the bundled images.

    Those in a folder are read as the model's test sets are. The channels of the bundled ones, which
    are RGB, are omitted or repeated for a model of other than three.
    """
    if images is None:
        sources = [*bundled_dataset("train").sources, *bundled_dataset("test").sources]
    else:
        sources = folder_dataset(images, model.scale, Pixels.seen_by(model)).sources
    pairs = [read_pair(source, model.scale) for source in sources]
    if images is None:
        of_channel = np.arange(model.channels) % 3
        return [(lr[..., of_channel], hr[..., of_channel]) for lr, hr in pairs]
    if model.measures:
        return pairs
    return [(_in_8_bits(lr), _in_8_bits(hr)) for lr, hr in pairs]


def _in_8_bits(image: np.ndarray) -> np.ndarray:
    """Returns an image as files of 8 bits hold it, with nodata filled."""
    return to_dtype(without_holes(image), np.uint8)


def check_parity(
    model: KerasUpscaler,
    export: ExportedUpscaler,
    pairs: Sequence[Pair],
    steps: Mapping[str, Step] | None = None,
) -> dict[str, Any]:
    """Compares an export with the Keras networks that it was exported from.

    Args:
        model: the Keras networks.
        export: the export.
        pairs: real images, of which pieces are compared.
        steps: of the outputs that the export rounds; half a step is no difference.

    Returns:
        The entry `parity` of the card. For float exports the compared sizes, the largest difference
        of each output in the units of units_of, and the bound; for int8 the loss of PSNR in dB,
        and the bound. If tiles overlap by less than the receptive radius also "seam", the largest
        difference that this causes, in grey levels.

    Raises:
        ParityError: if a bound is exceeded.
    """
    compare = _compare_psnr if export.card.precision == "int8" else _compare_maps
    report = compare(model, export, pairs, steps or {})
    if export.card.margin < export.card.radius:
        report["seam"] = _measure_seam(model, export, pairs)
    return report


def largest_difference(
    values: np.ndarray, expected: np.ndarray, step: Any = 0.0, unit: Any = 1.0
) -> float:
    """Returns the largest absolute difference, or infinity if a value is not finite.

    Args:
        values, expected: maps of one shape.
        step: of the grid to which `values` are rounded; half of it is no difference.
        unit: of the result.
    """
    difference = np.maximum(np.abs(values - expected) - step / 2, 0) / unit
    return float(difference.max()) if np.isfinite(difference).all() else np.inf


def units_of(expected: Mapping[str, np.ndarray], precision: Precision) -> dict[str, Any]:
    """Returns the unit of differences of each output, in grey levels: 1, or more for large values.

    Rounding errors grow with the values that a network computes. Those of sr may lie far outside
    0..255 before they are clipped, at least without much training.

    Args:
        expected: what _expected_maps returns.
        precision: of the export.
    """
    units: dict[str, Any] = {"sr": max(1.0, float(np.abs(expected["raw"]).max()) / 255)}
    if "theta" in expected:
        units["theta"] = np.maximum(1, expected["theta"] / RELATIVE_ABOVE[precision])
    return units


def _compare_maps(
    model: KerasUpscaler, export: ExportedUpscaler, pairs: Sequence[Pair], steps: Mapping[str, Step]
) -> dict[str, Any]:
    """Returns the largest difference of each output, at several sizes."""
    card = export.card
    worst = dict.fromkeys(card.outputs, 0.0)
    for index, size in enumerate(compared_sizes(card)):
        lr = _in_color(piece(pairs[index % len(pairs)][0], size).astype(np.float32))
        expected = _expected_maps(model, card, lr)
        expected = {name: _inner(card, values) for name, values in expected.items()}
        maps, units = export.forward(lr[None], card.outputs), units_of(expected, card.precision)
        for name in card.outputs:
            value, reference = _inner(card, maps[name][0]), expected[name]
            step, unit = steps[name](reference) if name in steps else 0.0, units[name]
            worst[name] = max(worst[name], largest_difference(value, reference, step, unit))
    bound = BOUNDS[card.precision]
    if not max(worst.values()) <= bound:  # not even if a difference is NaN
        found = ", ".join(f"{name} {value:.2g}" for name, value in worst.items())
        share = bound / RELATIVE_ABOVE[card.precision]
        raise ParityError(
            f"the export differs from the Keras networks by {found} grey levels; at most {bound:g}"
            f" is allowed for {card.precision}, or {share:.1%} of large theta"
        )
    return {"sizes": compared_sizes(card), **worst, "bound": bound}


def _compare_psnr(
    model: KerasUpscaler, export: ExportedUpscaler, pairs: Sequence[Pair], _: Any
) -> dict[str, Any]:
    """Returns the loss of PSNR, a mean over one piece of each image."""
    card = export.card
    size = compared_sizes(card)[-1]
    shave = 0 if card.tile else card.scale  # _inner has removed the border of a tile
    losses, ratios = [], []
    for lr, hr in pairs:
        lr_piece, hr_piece = piece(lr, size), piece(hr, size, card.scale)
        expected = _expected_maps(model, card, lr_piece.astype(np.float32))
        maps = export.forward(lr_piece[None].astype(np.float32), card.outputs)
        values = [
            _psnr(to_dtype(_inner(card, sr), np.uint8), _inner(card, hr_piece), shave)
            for sr in (expected["sr"], maps["sr"][0])
        ]
        if np.isfinite(values).all():  # an exact result, such as a plain area, has no finite PSNR
            losses.append(values[0] - values[1])
        if "theta" in card.outputs:
            theta = np.maximum(_inner(card, expected["theta"]), _SMALLEST_THETA)
            ratios.append(np.median(np.abs(_inner(card, maps["theta"][0]) / theta - 1)))
    loss = float(np.mean(losses)) if losses else np.inf
    if not loss <= INT8_BOUND:
        raise ParityError(
            f"int8 loses {loss:.2f} dB of {card.psnr} on {len(losses)} real patches; at most"
            f" {INT8_BOUND} dB is allowed: export float16, or give images similar to those to be"
            " upscaled",
            argument="images",
        )
    theta = {"theta_median_relative": float(np.mean(ratios))} if ratios else {}
    return {"patches": len(losses), "psnr_loss": loss, **theta, "bound": INT8_BOUND}


def _psnr(sr: np.ndarray, hr: np.ndarray, shave: int) -> float:
    """Returns the PSNR of the luma of RGB, or the mean over other channels, in dB."""
    if sr.shape[-1] == 3:
        return psnr_y(sr, hr, shave)
    inside = np.s_[shave : sr.shape[0] - shave, shave : sr.shape[1] - shave]
    return float(psnr(sr[inside], hr[inside]).mean())


def _inner(card: ModelCard, values: np.ndarray) -> np.ndarray:
    """Returns a map without the margins of a fixed tile; the whole map of other exports.

    Within BORDER pixels of its edges, the graph of a tile is not exact. A margin may be shorter:
    the difference at seams states what that costs.
    """
    edge = 0
    if card.tile:
        edge = card.scale * min(max(card.margin, BORDER), (card.tile - 1) // 2)
    return values[edge : values.shape[0] - edge, edge : values.shape[1] - edge]


def _expected_maps(model: KerasUpscaler, card: ModelCard, lr: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the maps that the export must reproduce, and "raw", sr before it is clipped."""
    raw, theta = model.predict(lr, card.border)
    sr = raw if card.measures else np.clip(raw, 0, 255)
    if card.format == "savedmodel" and card.measures:
        wanted, valid = Wanted(self_ensemble=card.self_ensemble), np.ones(lr.shape, bool)
        found = compute(model, lr, valid, GREY_LEVELS, wanted, Effort())
        sr, theta = found.sr, found.theta
    elif card.format == "savedmodel":
        result = model.upscale(lr, self_ensemble=card.self_ensemble)
        sr, theta = result.image, result.theta
    maps = {"raw": raw, "sr": sr}
    return maps if theta is None else {**maps, "theta": theta}


def _in_color(lr: np.ndarray) -> np.ndarray:
    """Returns an image whose channels differ: `upscale` computes RGB as grey, graphs do not."""
    if lr.shape[-1] == 3 and (lr == lr[..., :1]).all():
        lr[0, 0, 2] += 1 if lr[0, 0, 2] < 255 else -1
    return lr


def _measure_seam(model: KerasUpscaler, export: ExportedUpscaler, pairs: Sequence[Pair]) -> float:
    """Returns the largest difference between an image in tiles and as a whole, in grey levels.

    The image is a strip of the largest one, two tiles wide, so that it contains a seam. The export
    itself computes the whole, except a fixed tile, for which the Keras networks do.
    """
    card = export.card
    if card.tile:
        whole, tile, height = model, None, card.tile
        width = 2 * core_of_tile(card.tile, card.margin, card.align)
    else:
        whole, tile, height = export, card.margin + 20, 32
        width = 2 * tile
    lr = max((lr for lr, _ in pairs), key=np.size)
    lr = _in_color(piece(lr, (height, max(width, 32))).astype(np.float32))
    if card.measures:
        lr = model.value_range.from_network(lr).astype(np.float32)
    expected = whole.upscale(lr, uncertainty=False).image
    tiled = export.upscale(lr, uncertainty=False, tile=tile).image
    return largest_difference(tiled, expected, unit=model.value_range.step)


def piece(image: np.ndarray, size: tuple[int, int], scale: int = 1) -> np.ndarray:
    """Returns the middle of an image, mirrored outwards if the image is too small.

    Args:
        image: (h, w, c).
        size: (height, width) of the piece, LR pixels.
        scale: scale of the image; 1 for an LR image.
    """
    for axis, length in enumerate(size):
        available = image.shape[axis] // scale
        pad = [(0, 0)] * 3
        pad[axis] = (0, scale * max(0, length - available))
        start = scale * (max(0, available - length) // 2)
        image = np.pad(image, pad, "symmetric")
        image = np.take(image, range(start, start + scale * length), axis)
    return image
