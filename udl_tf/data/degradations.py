"""Random degradations of LR patches and of whole LR images, pure functions of their seeds.

A degraded patch is what the degraded whole image would contain at its place: compression keeps the
image's grid of blocks, of which patches therefore see every phase, and blur and compression read
the true neighbours of the patch. Only the part of the image that matters is computed.
(WebP predicts blocks from previous ones; of these, a patch gets the nearest only.)
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from udl_tf.config import Blur, Degradation, Jpeg, Noise, Poisson, Webp, degradations_text
from udl_tf.imaging import degrade

# Third word of Philox' counter, which is 0 for the draws of crops: other draws, by purpose.
_PATCHES, _IMAGES = 1, 2

Box = tuple[int, int, int, int]
"""Top, left, bottom and right of a part of an image, pixels."""


@dataclass(frozen=True)
class PatchDegradations:
    """Degradations of the patches of an update, drawn from (seed, update, row).

    Attributes:
        operations: from the config, in their order.
        seed: seed of the run.
        update: number of the update, counted over all steps of the run.
        rows: rows of the batch.
    """

    operations: Sequence[Degradation]
    seed: int
    update: int
    rows: range

    def __call__(self, image: np.ndarray, top: int, left: int, size: int, index: int) -> np.ndarray:
        """Returns a degraded patch of an LR image, for the row with this index in `rows`."""
        random = _generator(self.seed, self.update, _PATCHES, self.rows[index])
        return _degraded(image, (top, left, top + size, left + size), self.operations, random)


@dataclass(frozen=True)
class ImageDegradations:
    """Degradations of whole images, drawn from the seed and the name of each image.

    Attributes:
        operations: in their order.
        seed: any number.
    """

    operations: tuple[Degradation, ...]
    seed: int = 0

    @property
    def text(self) -> str:
        """Short form of the operations."""
        return degradations_text(self.operations)

    def __call__(self, image: np.ndarray, name: str) -> np.ndarray:
        """Returns the degraded LR image."""
        random = _generator(self.seed, zlib.crc32(name.encode()), _IMAGES)
        return _degraded(image, (0, 0, *image.shape[:2]), self.operations, random)


def _generator(seed: int, number: int, purpose: int, row: int = 0) -> np.random.Generator:
    philox = np.random.Philox(key=[seed, number], counter=[0, 0, purpose, row])
    return np.random.Generator(philox)


@dataclass(frozen=True)
class _Drawn:
    """Operation with its parameters drawn.

    Attributes:
        apply: uint8 RGB -> uint8 RGB.
        reach: pixels on each side of a block that its result depends on.
        block: side of the blocks that are computed together, pixels.
    """

    apply: Callable[[np.ndarray], np.ndarray]
    reach: int = 0
    block: int = 1

    def support(self, box: Box, shape: Sequence[int]) -> Box:
        """Returns the part of an image that determines the result in a box, in whole blocks."""
        top, bottom = self._widened(box[0], box[2], shape[0])
        left, right = self._widened(box[1], box[3], shape[1])
        return top, left, bottom, right

    def _widened(self, start: int, stop: int, length: int) -> tuple[int, int]:
        start = (start - self.reach) // self.block * self.block
        stop = -(-(stop + self.reach) // self.block) * self.block
        return max(0, start), min(stop, length)


def _degraded(
    image: np.ndarray, box: Box, operations: Sequence[Degradation], random: np.random.Generator
) -> np.ndarray:
    """Returns the part of an image inside a box, degraded by operations drawn at random."""
    drawn = [_draw(o, random) for o in operations if random.random() < o.probability]
    boxes = [box]
    for operation in reversed(drawn):
        boxes.append(operation.support(boxes[-1], image.shape))
    top, left, bottom, right = around = boxes.pop()
    part = image[top:bottom, left:right]
    for operation in drawn:
        inner = boxes.pop()
        part = _inside(operation.apply(part), around, inner)
        around = inner
    return part


def _inside(part: np.ndarray, around: Box, box: Box) -> np.ndarray:
    """Returns what is inside a box of the image, from the part of the image inside another."""
    top, left = box[0] - around[0], box[1] - around[1]
    return part[top : top + box[2] - box[0], left : left + box[3] - box[1]]


def _draw(operation: Degradation, random: np.random.Generator) -> _Drawn:
    codec = {"reach": degrade.CODEC_REACH, "block": degrade.CODEC_BLOCK}
    match operation:
        case Jpeg(quality=(low, high), subsampling=choices):
            quality = int(random.integers(low, high, endpoint=True))
            subsampling = choices[random.integers(len(choices))]
            return _Drawn(partial(degrade.jpeg, quality=quality, subsampling=subsampling), **codec)
        case Webp(quality=(low, high)):
            quality = int(random.integers(low, high, endpoint=True))
            return _Drawn(partial(degrade.webp, quality=quality), **codec)
        case Noise(sigma=bounds, grey=grey):
            sigma = random.uniform(*bounds)
            return _Drawn(partial(degrade.add_noise, sigma=sigma, random=random, grey=grey))
        case Poisson(sigma=bounds):
            sigma = random.uniform(*bounds)
            return _Drawn(partial(degrade.add_poisson_noise, sigma=sigma, random=random))
        case Blur(sigma=bounds, anisotropic=anisotropic):
            first = second = random.uniform(*bounds)
            angle = 0.0
            if anisotropic:
                second, angle = random.uniform(*bounds), random.uniform(0, np.pi)
            sigmas = first, second
            apply = partial(degrade.blur, sigmas=sigmas, angle=angle)
            return _Drawn(apply, reach=degrade.blur_radius(sigmas))
