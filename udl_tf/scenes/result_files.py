"""Results of scenes: one file or several, written window by window."""

import enum
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from udl_tf.scenes.axes import Axes
from udl_tf.scenes.opening import stem_of
from udl_tf.scenes.samples import FLAGS, THETA, Samples
from udl_tf.scenes.scene import Window


class Content(enum.Enum):
    """What a file of a result stores."""

    IMAGE = "image"
    THETA = "theta"
    BOTH = "image and theta"
    FLAGS = "flags"

    def samples(self, source: Samples) -> Samples:
        """Returns how the values are stored, given how the source stores them."""
        known = {Content.IMAGE: source, Content.FLAGS: FLAGS}
        return known.get(self, THETA)

    def channels(self, source: int) -> int:
        """Returns the number of channels, given that of the source."""
        return {Content.BOTH: 2 * source, Content.FLAGS: 1}.get(self, source)

    def names(self, source: list[str]) -> list[str]:
        """Returns the names of the channels, given those of the source."""
        theta = [f"theta of {name}" if name else "theta" for name in source]
        known = {Content.IMAGE: source, Content.BOTH: [*source, *theta], Content.FLAGS: ["flags"]}
        return known.get(self, theta)


@dataclass(frozen=True)
class ResultFile:
    """A file of a result, as an array that accepts values at an index.

    Attributes:
        array: to assign to.
        axes: of the array.
        samples: how values are stored.
    """

    array: Any
    axes: Axes
    samples: Samples

    def write(self, window: Window, values: np.ndarray) -> None:
        """Writes a window of values (h, w, c), NaN for nodata."""
        stored = self.samples.store(values)
        self.array[self.axes.index(window)] = self.axes.from_pixels(stored)


class WindowFile(Protocol):
    """A file of a result, which accepts windows of values (h, w, c), NaN for nodata."""

    def write(self, window: Window, values: np.ndarray) -> None: ...


Creator = Callable[[Path, int, Content], AbstractContextManager[WindowFile]]
"""Creates a file, given its path, the scale and its content; the file is complete at the end."""


class ResultWriter:
    """A result that is being written; a context manager.

    Args:
        create: creates a file in the format of the source.
        path, scale, theta, flags: as `Scene.create`.
    """

    def __init__(self, create: Creator, path: Path, scale: int, theta: Path | None, flags: bool):
        self._contents = {Content.IMAGE: path}
        if theta is not None:
            self._contents[Content.THETA] = theta
        if theta == path:
            self._contents = {Content.BOTH: path}
        if flags:
            self._contents[Content.FLAGS] = path_beside(path, "flags")
        self._create, self._scale = create, scale
        self._stack = ExitStack()
        self._files: dict[Content, WindowFile] = {}

    def __enter__(self) -> "ResultWriter":
        with ExitStack() as stack:
            for content, path in self._contents.items():
                file = stack.enter_context(self._create(path, self._scale, content))
                self._files[content] = file
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error) -> bool | None:
        return self._stack.__exit__(*error)

    def write(
        self,
        window: Window,
        values: np.ndarray,
        valid: np.ndarray,
        theta: np.ndarray | None = None,
        flags: np.ndarray | None = None,
    ) -> None:
        """Writes a window of the result; see SceneWriter."""
        values = np.where(valid, values, np.nan)
        parts: dict[Content, np.ndarray] = {Content.IMAGE: values}
        if theta is not None:
            parts |= {Content.THETA: theta, Content.BOTH: np.concatenate([values, theta], axis=-1)}
        if flags is not None:
            missing = flags == FLAGS.nodata
            parts[Content.FLAGS] = np.where(missing, np.nan, flags)[..., np.newaxis]
        for content, file in self._files.items():
            file.write(window, parts[content])


def path_beside(path: Path, name: str) -> Path:
    """Returns a file beside a result: `a_theta.ome.tif` for `a.ome.tif` and "theta"."""
    stem = stem_of(path)
    return path.with_name(f"{stem}_{name}{path.name[len(stem) :]}")
