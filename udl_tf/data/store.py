"""Decoded image pairs, held in memory; missing LR images are computed and cached."""

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from udl_tf._support.files import fitting_name
from udl_tf.config import DataConfig
from udl_tf.data.image_source import ImageSource, identity_of
from udl_tf.data.pixels import Pixels, lr_of, with_holes, without_holes
from udl_tf.errors import UserError
from udl_tf.imaging.resize import imresize, mod_crop
from udl_tf.imaging.rgb_files import read_rgb, write_rgb


def read_pair(
    source: ImageSource, scale: int, cache: Path | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Reads an image pair, or its central crop; HR sides are cropped to multiples of the scale.

    The LR image is degraded if the source says so.

    Args:
        source: image pair to read.
        scale: HR over LR size.
        cache: folder that stores computed LR images; None: they are not stored.

    Returns:
        (lr, hr), uint8 RGB of shapes (h, w, 3) and (scale h, scale w, 3). Measurements are float32
        with their channels, in the network's 0..255; nodata is NaN in hr, and filled in lr.

    Raises:
        UserError: for an unreadable file, mismatched sizes, or an HR image that is too small.
    """
    if source.pack:
        lr, hr = source.pack.arrays(source.index)
    else:
        lr, hr = _read_files(source, scale, cache)
        lr = without_holes(lr) if source.pixels.measured else lr
    if source.degrade is not None:
        lr = source.degrade(lr, source.hr.name)
    return (lr, hr) if source.crop is None else middle(lr, hr, scale, source.crop // scale)


def read_pair_with_holes(source: ImageSource, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """Reads an image pair as read_pair does, but with NaN for nodata in lr too.

    Packs hold filled LR images: theirs have nodata where the HR images have it.
    """
    if source.pack is None and source.pixels.measured:
        lr, hr = _read_files(source, scale, None)
        return (lr, hr) if source.crop is None else middle(lr, hr, scale, source.crop // scale)
    lr, hr = read_pair(source, scale)
    return (with_holes(lr, hr) if source.pixels.measured else lr), hr


def middle(lr: np.ndarray, hr: np.ndarray, scale: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the central part of an image pair, at most `side` LR pixels high and wide."""
    height, width = (min(side, length) for length in lr.shape[:2])
    top, left = (lr.shape[0] - height) // 2, (lr.shape[1] - width) // 2
    crop = np.s_[top * scale : (top + height) * scale, left * scale : (left + width) * scale]
    return lr[top : top + height, left : left + width], hr[crop]


def _read_files(
    source: ImageSource, scale: int, cache: Path | None
) -> tuple[np.ndarray, np.ndarray]:
    pixels = source.pixels
    hr = mod_crop(pixels.read(source.hr, source.plane, source.planes), scale)
    if min(hr.shape[:2]) < 2 * scale:
        _, height, width = pixels.shape(source.hr)
        raise UserError(
            f"{source.hr}: {width}x{height} pixels; x{scale} needs at least {2 * scale} pixels per"
            " side: remove it"
        )
    if source.lr is None:
        measured = pixels.measured
        return lr_of(hr, scale) if measured else _computed_lr(source.hr, hr, scale, cache), hr
    if not source.lr.exists():
        raise UserError(f"{source.hr}: its LR file {source.lr} is missing: add it")
    lr = pixels.read(source.lr, source.plane, source.planes)
    expected = (hr.shape[0] // scale, hr.shape[1] // scale)
    if lr.shape[:2] != expected:
        raise UserError(
            f"{source.lr}: {lr.shape[1]}x{lr.shape[0]} pixels; its HR image at x{scale} needs"
            f" {expected[1]}x{expected[0]}: set model.scale to the scale of the pairs, or fix the"
            " pair"
        )
    return lr, hr


def cache_folder(config: DataConfig, fallback: Path) -> Path:
    """Returns the folder that stores computed LR images.

    Args:
        config: data section of a config.
        fallback: used if the config names no folder and that of the user does not exist or cannot
            be written.
    """
    if config.cache_dir:
        return Path(config.cache_dir)
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(base) / "udl_tf" / "lr"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: the user has no home
        return fallback
    return folder if os.access(folder, os.W_OK) else fallback


def _computed_lr(path: Path, hr: np.ndarray, scale: int, cache: Path | None) -> np.ndarray:
    """Returns the LR image of an 8-bit HR file from the cache, or computes and stores it."""
    if cache is None:
        return imresize(hr, 1 / scale)
    identity = f"{identity_of(path)}|{scale}"
    digest = hashlib.sha256(os.fsencode(identity)).hexdigest()[:16]
    file = cache / fitting_name(path.stem, f"-x{scale}-{digest}.png")
    try:
        lr = read_rgb(file)
        if lr.shape == (hr.shape[0] // scale, hr.shape[1] // scale, 3):
            return lr
    except UserError:
        pass  # missing or damaged: computed below
    lr = imresize(hr, 1 / scale)
    write_rgb(file, lr)
    return lr


class ImageStore:
    """Decoded (lr, hr) pairs by index, held in memory up to a limit.

    Beyond the limit, the least recently used pairs are evicted first; a set that fits in memory is
    decoded once per run. Safe for several threads.

    Args:
        sources: image pairs.
        scale: HR over LR size.
        memory_gb: memory for decoded pairs, GB.
        cache: folder for computed LR images; None: they are not stored.

    Attributes:
        decoded: number of pairs decoded so far.
    """

    def __init__(
        self,
        sources: Sequence[ImageSource],
        scale: int,
        memory_gb: float,
        cache: Path | None = None,
    ):
        self.sources = tuple(sources)
        self.scale = scale
        self.decoded = 0
        self._cache = cache
        self._free_bytes = int(memory_gb * 1e9)
        self._lr_sizes: dict[int, tuple[int, int]] = {}
        self._in_memory: OrderedDict[int, tuple[np.ndarray, np.ndarray]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.sources)

    @property
    def pixels(self) -> Pixels:
        """How the images are read, which states dtype and channels of the pairs."""
        return self.sources[0].pixels

    def pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the pair (lr, hr) at `index`, as read_pair."""
        with self._lock:
            if index in self._in_memory:
                self._in_memory.move_to_end(index)
                return self._in_memory[index]
        pair = read_pair(self.sources[index], self.scale, self._cache)
        self._lr_sizes[index] = pair[0].shape[:2]
        if self.sources[index].pack:
            return pair  # a view of the file, which the operating system keeps in memory
        with self._lock:
            self.decoded += 1
            if index not in self._in_memory:
                self._add(index, pair)
        return pair

    def lr_size(self, index: int) -> tuple[int, int]:
        """Returns height and width of the LR image at `index`; decodes it at most once."""
        if index not in self._lr_sizes:
            self.pair(index)
        return self._lr_sizes[index]

    def pairs(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Returns all pairs (lr, hr), in order."""
        return [self.pair(index) for index in range(len(self))]

    def load_all(self) -> None:
        """Decodes every pair once, so that a bad file is found before training.

        Raises:
            UserError: naming the first bad file.
        """
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            for _ in pool.map(self.pair, range(len(self))):
                pass

    def _add(self, index: int, pair: tuple[np.ndarray, np.ndarray]) -> None:
        self._free_bytes -= _bytes(pair)
        self._in_memory[index] = pair
        while self._free_bytes < 0 and self._in_memory:
            _, oldest = self._in_memory.popitem(last=False)
            self._free_bytes += _bytes(oldest)


def _bytes(pair: tuple[np.ndarray, np.ndarray]) -> int:
    return sum(image.nbytes for image in pair)
