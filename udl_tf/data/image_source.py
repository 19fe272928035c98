"""Where the two images of a pair come from."""

from dataclasses import dataclass
from pathlib import Path

from udl_tf.data.degradations import ImageDegradations
from udl_tf.data.pack import Pack
from udl_tf.data.pixels import RGB, Pixels
from udl_tf.scenes.opening import stem_of

BUNDLED_FOLDER = Path(__file__).parent / "bundled"
"""Folder of the images that come with the package."""


def identity_of(path: Path) -> str:
    """Returns path, size and modification time of a file, or of all files of a folder, as text."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    stats = (file.stat() for file in files)
    return "|".join([f"{path.resolve()}", *(f"{s.st_size}|{s.st_mtime_ns}" for s in stats)])


@dataclass(frozen=True)
class ImageSource:
    """Where the two images of a pair come from.

    Attributes:
        hr: HR file; for a pair in a pack, the folder of the pack followed by the image's name.
        lr: LR file of a paired dataset; None: computed from the HR image.
        pack: pack that contains the pair; None: files.
        index: index of the pair in the pack.
        crop: side of the central square that is used, HR pixels; None: the whole image.
        degrade: degradations of the LR image, before it is cropped; None: it stays as it is.
        pixels: how the files are read.
        plane: index of the plane in both files.
        planes: number of planes in each of them.
    """

    hr: Path
    lr: Path | None = None
    pack: Pack | None = None
    index: int = 0
    crop: int | None = None
    degrade: ImageDegradations | None = None
    pixels: Pixels = RGB
    plane: int = 0
    planes: int = 1

    @property
    def title(self) -> str:
        """Name in reports: that of the file, and the plane: "cells.ome.tif, plane 3"."""
        return f"{self.hr.name}{self._plane}"

    @property
    def where(self) -> str:
        """Path of the file, and the plane."""
        return f"{self.hr}{self._plane}"

    @property
    def identity(self) -> str:
        """The pair as text: its checksum in a pack, else path, size and time of its files."""
        if self.pack is not None:
            return str(self.pack.entries[self.index]["crc32"])
        return "|".join(identity_of(file) for file in (self.hr, self.lr) if file is not None)

    @property
    def _plane(self) -> str:
        return "" if self.planes == 1 else f", plane {self.plane + 1}"

    @property
    def stem(self) -> str:
        """Name of files about the image, without suffix."""
        stem = stem_of(self.hr)
        return stem if self.planes == 1 else f"{stem}_plane{self.plane + 1}"

    @property
    def name(self) -> str:
        """Name of the file in a run folder: its path; that of bundled images is relative."""
        if self.hr.is_relative_to(BUNDLED_FOLDER):
            return self.hr.relative_to(BUNDLED_FOLDER.parent).as_posix()
        return str(self.hr)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the HR image, or of its crop."""
        if self.pack is None:
            _, height, width = self.pixels.shape(self.hr)
        else:
            height, width, _ = self.pack.entries[self.index]["shapes"][1]
        if self.crop is not None:
            height, width = min(height, self.crop), min(width, self.crop)
        return height, width
