"""TensorBoard log of a step, written without TensorFlow."""

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.summary import image, scalar


class TensorBoardLog:
    """Writes scalars and images for TensorBoard.

    All steps of a run have one axis, the updates since its beginning.

    Args:
        folder: folder for a new event file; its name is that of the step.
        before: updates of the earlier steps.

    Attributes:
        step: name of the step, such as "step1-esu".
    """

    def __init__(self, folder: Path, before: int = 0):
        self.step, self._before = folder.name, before
        folder.mkdir(parents=True, exist_ok=True)
        # tensorboardX names files by the second; a run may stop and resume within one.
        self._writer = EventsWriter(str(folder / "events"), f".{time.time_ns()}")

    def write_scalars(self, values: Mapping[str, float], update: int) -> None:
        """Writes values by tag, after `update` updates of the step."""
        for tag, value in values.items():
            self._write(scalar(tag, value), update)

    def write_image(self, tag: str, pixels: np.ndarray, update: int) -> None:
        """Writes a uint8 (h, w, 3) image, after `update` updates of the step."""
        self._write(image(tag, pixels, dataformats="HWC"), update)

    def flush(self) -> None:
        """Writes everything to the disk."""
        self._writer.flush()

    def close(self) -> None:
        """Writes everything to the disk and closes the file."""
        self._writer.close()

    def _write(self, summary: Summary, update: int) -> None:
        event = Event(summary=summary, step=self._before + update, wall_time=time.time())
        self._writer.write_event(event)
