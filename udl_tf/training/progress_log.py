"""Keras callback that reports the progress of a step: terminal, log, TensorBoard."""

import sys
import time
from logging import getLogger

import keras

from udl_tf._support.progress import Pace
from udl_tf.data.pipeline import Waiting
from udl_tf.training.callbacks import Clock, loss_of
from udl_tf.training.tensorboard import TensorBoardLog

log = getLogger(__name__)


class ProgressLog(keras.callbacks.Callback):
    """Reports loss, speed and remaining time: progress line, log lines, TensorBoard scalars.

    Without a terminal, there is no progress line; slow updates are then also logged by time.

    Args:
        clock: clock of the step.
        name: name of the step, such as "step 1/2 esu".
        batch_size: global batch size (patches per update).
        every: updates between two log lines.
        waiting: time spent waiting for data.
        board: log for TensorBoard.
    """

    def __init__(
        self,
        clock: Clock,
        name: str,
        batch_size: int,
        every: int,
        waiting: Waiting,
        board: TensorBoardLog,
    ):
        super().__init__()
        self.clock = clock
        self.name = name
        self.batch_size = batch_size
        self.every = every
        self.waiting = waiting
        self.board = board

    def on_train_begin(self, logs=None):
        self._pace = Pace(time.monotonic())
        self._since: tuple[float, int, float] | None = None  # time, updates, s waited
        self._rate = 0.0  # updates per second since then
        self._waited = 0.0  # fraction of that time
        self._drawn = 0.0  # time of the last progress line

    def on_train_batch_end(self, batch, logs=None):
        clock, now = self.clock, time.monotonic()
        regular, late = clock.due(self.every), self._pace.due(now)
        if self._since is None or regular or late:
            self._measure(now)
        if regular:
            self._since = now, clock.update, self.waiting.seconds
            self._pace.reported(now)
            loss = loss_of(logs)
            self._draw("")
            log.info("%s", self._line(loss))
            self._write_scalars(loss)
            self.model.reset_metrics()
        elif late and not sys.stderr.isatty():
            log.info("%s", self._line(loss_of(logs)))
        elif now - self._drawn > 0.2 and clock.previous is not None:
            self._drawn = now
            self._draw(self._line(loss_of(clock.previous[1])))

    def _measure(self, now: float) -> None:
        """Measures the speed since the last regular line, at first since the first update."""
        if self._since is None:  # the first update, which took long because it was traced
            self._since = now, self.clock.update, self.waiting.seconds
        start, first, waited = self._since
        seconds = max(now - start, 1e-9)
        self._rate = (self.clock.update - first) / seconds
        self._waited = (self.waiting.seconds - waited) / seconds

    def _write_scalars(self, loss: float) -> None:
        learning_rate = keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
        scalars = {
            f"train/loss/{self.board.step}": loss,  # losses of other steps have other scales
            "train/learning_rate": float(learning_rate),
            "train/patches_per_second": self._rate * self.batch_size,
            "train/share_of_time_waiting_for_data": self._waited,
        }
        self.board.write_scalars(scalars, self.clock.update)

    def _line(self, loss: float) -> str:
        clock = self.clock
        filled = 20 * clock.update // clock.total
        bar = "█" * filled + "·" * (20 - filled)
        line = f"{self.name} {bar} {clock.update}/{clock.total}  loss {loss:.4f}"
        if self._rate:
            left = time.gmtime((clock.total - clock.update) / self._rate)
            hours = 24 * (left.tm_yday - 1) + left.tm_hour
            line += f"  {self._rate * self.batch_size:.1f} patches/s"
            line += f" ({self._waited:.0%} waiting for data)"
            line += f"  {hours}:{left.tm_min:02}:{left.tm_sec:02} left"
        return line

    @staticmethod
    def _draw(line: str) -> None:
        if sys.stderr.isatty():
            print(f"\r{line}\x1b[K", end="", file=sys.stderr, flush=True)
