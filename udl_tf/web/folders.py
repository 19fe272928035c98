"""Temporary folders of the page: one per result, removed after an hour or when it is replaced."""

import shutil
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

from udl_tf.errors import UserError
from udl_tf.imaging.rgb_files import SAVE_OPTIONS

LIFETIME = 3600.0
"""Seconds after which the files of a result are removed; uploads, too."""

_INTERVAL = 60.0  # s between two searches for old folders
_KEPT = 20  # latest views of a result: more than a browser can still be loading


class Folders:
    """Temporary folders; all are removed by `close`, each of them after LIFETIME.

    Attributes:
        root: their parent.
        uploads: folder for uploaded files, which the server removes one by one.
        results: folder that holds a folder for each result.
    """

    def __init__(self):
        self.root = Path(tempfile.mkdtemp(prefix="udl_tf_web_")).resolve()
        self.uploads, self.results = self.root / "uploads", self.root / "results"
        for folder in (self.uploads, self.results):
            folder.mkdir()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._remove_regularly, daemon=True)
        self._thread.start()

    def new(self, size: int) -> Path:
        """Returns a new folder for a result; its name cannot be guessed.

        Args:
            size: bytes that the files of the result need at most.

        Raises:
            UserError: if the disk has less free space.
        """
        free = shutil.disk_usage(self.results).free
        if size > free:
            raise UserError(
                f"the result needs up to {size / 1e9:.1f} GB of disk space, {free / 1e9:.1f} GB are"
                " free: choose a smaller size, or try again later"
            )
        return Path(tempfile.mkdtemp(dir=self.results))

    def remove(self, folder: Path) -> None:
        """Removes the folder of a result, if it still exists."""
        shutil.rmtree(folder, ignore_errors=True)

    def remove_old(self, now: float) -> None:
        """Removes the folders of results that are older than LIFETIME at time `now`, s."""
        for folder in self.results.iterdir():
            if now - folder.stat().st_ctime > LIFETIME:
                self.remove(folder)

    def close(self) -> None:
        """Removes everything."""
        self._closed.set()
        self._thread.join()
        shutil.rmtree(self.root, ignore_errors=True)

    def _remove_regularly(self) -> None:
        while not self._closed.wait(_INTERVAL):
            self.remove_old(time.time())


def save_view(folder: Path, image: np.ndarray) -> Path:
    """Writes a uint8 RGB image to show, under a new name; removes old images.

    Raises:
        FileNotFoundError: if the folder of the result has been removed.
    """
    views = folder / "views"
    views.mkdir(exist_ok=True)
    earlier = sorted(views.iterdir())
    for file in earlier[:-_KEPT]:
        file.unlink(missing_ok=True)
    path = views / f"{time.time_ns()}.jpg"
    Image.fromarray(image).save(path, **SAVE_OPTIONS[".jpg"])
    return path
