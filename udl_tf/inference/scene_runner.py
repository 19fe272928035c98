"""Scenes of any size, upscaled window by window in bounded memory, equal to the whole.

A window is read with a margin, within which lies all that its result depends on: what the networks
see, what nodata there is filled from, and what back projection compares. Windows without data are
neither computed nor written.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import psutil

from udl_tf._support.device_memory import free_memory
from udl_tf._support.progress import Counter, Progress, no_progress
from udl_tf.errors import UserError
from udl_tf.imaging.bicubic import RADIUS, shrink
from udl_tf.imaging.nodata import FILL_DISTANCE
from udl_tf.inference.consistency import MARGIN, Consistency
from udl_tf.inference.measurements import (
    Computed,
    compute,
    enlarged,
    flags_of,
    range_of,
)
from udl_tf.inference.passes import BORDER, WANTED, Effort, Wanted
from udl_tf.inference.upscaler import Upscaler, upscaler_of
from udl_tf.scenes.scene import Scene, SceneWriter, Window

_LARGEST_CORE, _SMALLEST_CORE = 2048, 32  # LR pixels
_BLOCK = 256  # LR pixels; larger cores are multiples of it, and so start with the blocks of files
_STEP = 64  # LR pixels to which a window is cut down if the rest of it has no data
_DEFAULT_ROOM = 2e9  # bytes in addition to what the process uses, if so much is free
_RESERVE = 0.25e9  # bytes by which libraries grow while they compute
_LR_BYTES, _HR_BYTES, _ENSEMBLE_BYTES = 48, 56, 24  # of all arrays, per value at the peak


@dataclass
class SceneSummary:
    """Outcome of a scene.

    Attributes:
        windows: number of windows that were computed.
        empty: number of windows without data.
        consistency: of each channel, as from Consistency.report, in the unit of the scene.
        notes: of the scene and of the computation.
    """

    windows: int
    empty: int
    consistency: list[dict[str, float]]
    notes: list[str]


def upscale_scene(
    model: Upscaler,
    scene: Scene,
    output: Path,
    theta: Path | None = None,
    wanted: Wanted = WANTED,
    memory_gb: float | None = None,
    tile: int | None = None,
    value_range: tuple[float, float] | None = None,
    progress: Progress = no_progress,
) -> SceneSummary:
    """Upscales a scene into a file of the same format, plane after plane.

    Args:
        model: an Upscaler or an SRModel, of as many channels as the scene, or of one: then it
            upscales each channel by itself. A model of 8-bit RGB also computes scenes of one
            channel of unsigned integers, as RGB.
        scene: an open scene.
        output: file of the result, which appears when it is complete; flags are stored with it.
        theta: file for theta, `output` itself to store it there as further channels; None: theta
            is not computed.
        wanted: whether to use the self-ensemble and back projection.
        memory_gb: of the whole process; None: 2 GB more than it uses, at most a quarter of what is
            free.
        tile: side of the networks' tiles within a window, LR pixels; None: chosen by the runner.
        value_range: as for Upscaler.upscale; integers have the range of their dtype instead.
        progress: receives the LR pixels that are done.

    Raises:
        UserError: if scene and model do not match, the scene is damaged, the result cannot be
            written, or the memory does not suffice.
    """
    run = SceneRun(
        upscaler_of(model), scene, theta is not None, wanted, memory_gb, tile, value_range
    )
    counter = Counter(progress, scene.planes * scene.height * scene.width)
    with scene.create(output, run.model.scale, theta, flags=True) as writer:
        for window in run.windows():
            run.upscale(window, writer)
            counter.add(window.height * window.width, scene.path.name)
    return run.summary()


class SceneRun:
    """The run of a model over the windows of a scene; arguments as for `upscale_scene`.

    Attributes:
        model: the upscaler.
        margin: LR pixels around a window on which its result depends.
        side: of a window, LR pixels.
    """

    def __init__(
        self,
        model: Upscaler,
        scene: Scene,
        uncertainty: bool,
        wanted: Wanted,
        memory_gb: float | None,
        tile: int | None,
        value_range: tuple[float, float] | None,
    ):
        _check_match(model, scene, uncertainty)
        self.model, self._scene = model, scene
        self._wanted = replace(wanted, uncertainty=uncertainty)
        takes_range = scene.dtype.kind == "f" or model.measures
        self._range = range_of(model.value_range, scene.dtype, value_range if takes_range else None)
        seen = max(model.radius, BORDER)  # by the networks, and by fill_plain_areas
        reach = max(seen + FILL_DISTANCE, model.nodata_reach)
        self.margin = reach + RADIUS + (MARGIN if wanted.consistent else 0)
        self.side, budget = self._plan(memory_gb)
        self._effort = Effort(tile, budget)
        self._consistency = Consistency.of(scene.channels)
        self._computed = self._empty = 0

    def windows(self) -> Iterator[Window]:
        """Yields the windows that cover all planes, without margins."""
        scene, side = self._scene, self.side
        for plane in range(scene.planes):
            for top, left in product(range(0, scene.height, side), range(0, scene.width, side)):
                height, width = min(side, scene.height - top), min(side, scene.width - left)
                yield Window(plane, top, left, height, width)

    def upscale(self, window: Window, writer: SceneWriter) -> None:
        """Upscales and writes a window, or the part of it that holds data."""
        if not self._scene.holds_data(window):
            self._empty += 1
            return
        outer = self._with_margin(window)
        values, valid = self._scene.read(outer)
        core = _part_with_data(window, valid[_inside(window, outer)])
        if core is None:
            self._empty += 1
            return
        needed = self._with_margin(core)
        part = _inside(needed, outer)
        values, valid = values[part], valid[part]
        found = compute(self.model, values, valid, self._range, self._wanted, self._effort)
        self._computed += 1
        self._measure(found, valid, _inside(core, needed))
        self._write(writer, found, valid, core, needed)

    def summary(self) -> SceneSummary:
        """Returns the outcome of all windows so far."""
        consistency = self._consistency.report(self._range.step)
        notes = [*self._scene.notes, *self._effort.notes]
        if self.model.eight_bit and self._scene.dtype.itemsize > 1:
            notes.append("values computed in 8 bits: this model supports no more")
        return SceneSummary(self._computed, self._empty, consistency, notes)

    def _measure(self, found: Computed, valid: np.ndarray, core: tuple[slice, slice]) -> None:
        degraded = shrink(found.sr, self.model.scale)
        self._consistency.add(found.lr[core], degraded[core], valid[core])

    def _write(
        self, writer: SceneWriter, found: Computed, valid: np.ndarray, core: Window, outer: Window
    ) -> None:
        """Writes the part `core` of what was computed for the window `outer`."""
        scale, lr_part = self.model.scale, _inside(core, outer)
        rows, columns = (slice(s.start * scale, s.stop * scale) for s in lr_part)
        known, theta = enlarged(valid[lr_part], scale), None
        if found.theta is not None:
            step = self._range.step.astype(np.float32)
            theta = np.where(known, found.theta[rows, columns] * step, np.float32(np.nan))
        # Of the whole window: flags depend on nodata in the margin too.
        flags = flags_of(valid, self.model.nodata_reach, scale)[rows, columns]
        values = self._range.from_network(found.sr[rows, columns])
        place = (core.top, core.left, core.height, core.width)
        target = Window(core.plane, *(scale * number for number in place))
        writer.write(target, values, known, theta, flags)

    def _with_margin(self, window: Window) -> Window:
        """Returns a window with its margin, as far as the plane goes, at an aligned position."""
        spans = []
        for start, size, length in (
            (window.top, window.height, self._scene.height),
            (window.left, window.width, self._scene.width),
        ):
            first = max(start - self.margin, 0) // self.model.align * self.model.align
            spans.append((first, min(start + size + self.margin, length) - first))
        (top, height), (left, width) = spans
        return Window(window.plane, top, left, height, width)

    def _plan(self, memory_gb: float | None) -> tuple[int, float]:
        """Returns (side of a window, working memory of the networks in bytes)."""
        scene, scale = self._scene, self.model.scale
        per_value = _HR_BYTES + (_ENSEMBLE_BYTES if self._wanted.self_ensemble else 0)
        channels = max(scene.channels, self.model.channels)
        per_pixel = channels * (_LR_BYTES + scale**2 * per_value)
        used = psutil.Process().memory_info().rss + _RESERVE
        room = min(_DEFAULT_ROOM, free_memory() / 4)
        room = room if memory_gb is None else 1e9 * memory_gb - used
        edge = 2 * self.margin + self.model.align - 1
        needed = 2 * per_pixel * (_SMALLEST_CORE + edge) ** 2
        if memory_gb is not None and room < needed:
            least = math.ceil((used + needed) / 1e8) / 10
            raise UserError(
                f"a limit of {memory_gb:g} GB of memory is too small for {scene.path}: expected at"
                f" least {least:g} GB, of which the process uses {used / 1e9:.1f} GB already",
                argument="memory",
            )
        side = min(math.isqrt(int(max(room, needed) / 2 / per_pixel)) - edge, _LARGEST_CORE)
        return (side // _BLOCK * _BLOCK or side), room / 2


def _check_match(model: Upscaler, scene: Scene, uncertainty: bool) -> None:
    """Raises UserError unless the model can upscale the scene."""
    is_grey = scene.channels == 1 and scene.dtype.kind == "u"
    as_rgb = is_grey and model.channels == 3 and not model.measures
    if model.channels not in (1, scene.channels) and not as_rgb:
        count = f"{scene.channels} channel{'s' * (scene.channels > 1)}"
        raise UserError(
            f"{scene.path}: has {count}; expected {model.channels}, those of the model: choose"
            " another model, or convert the file"
        )
    if uncertainty and not model.has_uncertainty:
        raise UserError("the model has no uncertainty: omit theta", argument="uncertainty")


def _inside(window: Window, outer: Window) -> tuple[slice, slice]:
    """Returns the rows and columns of a window within one that contains it."""
    top, left = window.top - outer.top, window.left - outer.left
    return slice(top, top + window.height), slice(left, left + window.width)


def _part_with_data(window: Window, valid: np.ndarray) -> Window | None:
    """Returns the part of a window that contains all its data, in steps of _STEP; None: no data."""
    spans = []
    for axis, size in ((1, window.height), (0, window.width)):
        found = np.flatnonzero(np.any(valid.any(axis=-1), axis=axis))
        if not len(found):
            return None
        first = int(found[0]) // _STEP * _STEP
        spans.append((first, min((int(found[-1]) // _STEP + 1) * _STEP, size) - first))
    (top, height), (left, width) = spans
    return Window(window.plane, window.top + top, window.left + left, height, width)
