"""What happens along the way: progress, TensorBoard, validation, checkpoints, stopping."""

import math
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from logging import getLogger

import keras
import numpy as np
import tensorflow as tf

from udl_tf.bundle import make_forward
from udl_tf.errors import UserError
from udl_tf.figures import colorize
from udl_tf.image_io import to_uint8
from udl_tf.metrics import psnr_y, ssim_y
from udl_tf.models import uncertainty_part
from udl_tf.resize import imresize

log = getLogger(__name__)


class Diverged(UserError):
    """The loss became NaN or infinite."""


@dataclass
class StepClock:
    """Counts the updates of a step; every callback reads the number of the update just done."""

    update: int
    total: int


class Counter(keras.callbacks.Callback):
    """Moves the clock on. First in the list of callbacks."""

    def __init__(self, clock: StepClock):
        super().__init__()
        self.clock = clock

    def on_train_batch_end(self, batch, logs=None):
        self.clock.update += 1


class StopOnDivergence(keras.callbacks.Callback):
    """Raises Diverged, naming the update, as soon as the loss is not finite."""

    def __init__(self, clock: StepClock, name: str):
        super().__init__()
        self.clock = clock
        self.name = name

    def on_train_batch_end(self, batch, logs=None):
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise Diverged(
                f"{self.name}: the loss became {loss} at update {self.clock.update}; the last good"
                " checkpoint is kept: lower optimizer.learning_rate or set optimizer.clip_norm"
            )


class ProgressLog(keras.callbacks.Callback):
    """Loss, speed and time left: a moving line on a terminal, a log line and TensorBoard points.

    Args:
        clock: of the step.
        name: such as "step 1/2 esu".
        batch_size: patches an update.
        every: updates between log lines.
        learning_rate: function update -> learning rate.
        board: function (tag, value) that writes a TensorBoard point.
    """

    def __init__(
        self,
        clock: StepClock,
        name: str,
        batch_size: int,
        every: int,
        learning_rate: Callable[[int], float],
        board: Callable[[str, float], None],
    ):
        super().__init__()
        self.clock = clock
        self.name = name
        self.batch_size = batch_size
        self.every = every
        self.learning_rate = learning_rate
        self.board = board

    def on_train_begin(self, logs=None):
        self._since = (time.monotonic(), self.clock.update)
        self._rate = None
        self._drawn = 0.0

    def on_train_batch_end(self, batch, logs=None):
        clock = self.clock
        now = time.monotonic()
        due = clock.update % self.every == 0 or clock.update == clock.total
        if due:
            start, first = self._since
            self._rate = (clock.update - first) / max(now - start, 1e-9)
            self._since = (now, clock.update)
            loss = float(logs["loss"])
            self._clear()
            log.info("%s", self._line(loss))
            self.board("train/loss", loss)
            self.board("train/learning_rate", self.learning_rate(clock.update))
            self.board("train/patches_per_second", self._rate * self.batch_size)
            self.model.reset_metrics()
        elif sys.stderr.isatty() and now - self._drawn > 0.2:
            self._drawn = now
            print(f"\r{self._line(float(logs['loss']))}\x1b[K", end="", file=sys.stderr, flush=True)

    def _line(self, loss: float) -> str:
        clock = self.clock
        done = clock.update / clock.total
        bar = "█" * int(20 * done) + "·" * (20 - int(20 * done))
        line = f"{self.name} {bar} {clock.update}/{clock.total}  loss {loss:.4f}"
        if self._rate:
            left = time.gmtime((clock.total - clock.update) / self._rate)
            hours = 24 * (left.tm_yday - 1) + left.tm_hour
            line += f"  {self._rate * self.batch_size:.1f} patches/s"
            line += f"  {hours}:{left.tm_min:02}:{left.tm_sec:02} left"
        return line

    @staticmethod
    def _clear():
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


class EveryInterval(keras.callbacks.Callback):
    """Calls `action` at every `interval`-th update and at the last, with the averaged weights.

    Args:
        clock: of the step.
        interval: updates between calls.
        action: what to do.
        ema: whether the optimizer keeps a moving average, to be swapped in for the call.
    """

    def __init__(self, clock: StepClock, interval: int, action: Callable[[], None], ema: bool):
        super().__init__()
        self.clock = clock
        self.interval = interval
        self.action = action
        self.swap = keras.callbacks.SwapEMAWeights() if ema else None

    def on_train_batch_end(self, batch, logs=None):
        if self.clock.update % self.interval and self.clock.update != self.clock.total:
            return
        if self.swap is None:
            self.model  # noqa: B018  (under JAX, the access brings the weights up to date)
            self.action()
            return
        self.swap.set_model(self.model)
        self.swap.on_test_begin()
        self.action()
        self.swap.on_test_end()


class Checkpoints(keras.callbacks.Callback):
    """Saves at every `interval`-th update, and when a signal asks the run to stop.

    Ctrl-C and SIGTERM end the update at hand, save and stop; a second Ctrl-C ends at once.

    Args:
        clock: of the step.
        interval: updates between checkpoints.
        save: function of the trainer that writes the state.
    """

    def __init__(self, clock: StepClock, interval: int, save: Callable[[keras.Model], bool]):
        super().__init__()
        self.clock = clock
        self.interval = interval
        self.save = save
        self.interrupted = False
        self._handlers = {}

    def on_train_begin(self, logs=None):
        self._handlers = {s: signal.signal(s, self._ask) for s in (signal.SIGINT, signal.SIGTERM)}

    def restore_handlers(self):
        """Gives the signals back to whoever had them; to be called when `fit` is over."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def on_train_batch_end(self, batch, logs=None):
        if self.interrupted or self.clock.update % self.interval == 0:
            if not self.save(self.model):
                raise Diverged(
                    f"a weight is no finite number after update {self.clock.update}; the last good"
                    " checkpoint is kept: lower optimizer.learning_rate or set optimizer.clip_norm"
                )
            if self.interrupted:
                self.model.stop_training = True

    def _ask(self, number, frame):
        self.interrupted = True
        log.info("stopping after this update ...")
        signal.signal(signal.SIGINT, signal.default_int_handler)


class Validation:
    """PSNR, SSIM and the range of s on held-out images, with an image row for TensorBoard.

    Args:
        pairs: (lr, hr) uint8 images; the middle of each is used.
        scale: HR over LR size.
        network: lr -> {"sr"} or {"sr", "log_scale"}.
        frozen: the network of the step before, for s where `network` has none; or None.
        writer: TensorBoard's tf.summary writer.
        side: largest side of the middle, HR pixels.
    """

    def __init__(self, pairs, scale: int, network, frozen, writer, side: int = 256):
        self.scale = scale
        self.predict = make_forward(network)
        with_s = frozen is not None and "log_scale" in frozen.output
        self.predict_s = make_forward(uncertainty_part(frozen)) if with_s else None
        self.writer = writer
        self.history: list[dict[str, float]] = []
        self.pairs = [_middle(lr, hr, scale, side // scale) for lr, hr in pairs]

    def __call__(self, update: int) -> dict[str, float]:
        """Judges the network as it is; writes to TensorBoard at `update`; returns the means."""
        values, ranges = [], []
        for index, (lr, hr) in enumerate(self.pairs):
            prediction = self.predict(lr)
            if "log_scale" not in prediction and self.predict_s is not None:
                prediction |= self.predict_s(lr)
            sr = to_uint8(prediction["sr"])
            values.append((psnr_y(sr, hr, self.scale), ssim_y(sr, hr, self.scale)))
            log_scale = prediction.get("log_scale")
            if log_scale is not None:
                ranges.append((log_scale.min(), log_scale.mean(), log_scale.max()))
            if index == 0:
                self._draw(lr, sr, hr, log_scale, update)
        means = dict(zip(("psnr_y", "ssim_y"), np.mean(values, axis=0).tolist(), strict=True))
        if ranges:
            low, mean, high = zip(*ranges, strict=True)
            means |= {"s_min": min(low), "s_mean": float(np.mean(mean)), "s_max": max(high)}
        with self.writer.as_default(step=update):
            for name, value in means.items():
                tf.summary.scalar(f"validation/{name}", value)
        self.writer.flush()
        means = {name: float(value) for name, value in means.items()}
        self.history.append({"update": update, **means})
        log.info("validation at update %d: %s", update, _spoken(means))
        return means

    def _draw(self, lr, sr, hr, log_scale, update: int) -> None:
        nearest = lr.repeat(self.scale, axis=0).repeat(self.scale, axis=1)
        row = [nearest, imresize(lr, self.scale), sr, hr]
        if log_scale is not None:
            row.append(colorize(np.exp(log_scale)))
        title = "LR | bicubic | SR | HR" + (" | theta" if log_scale is not None else "")
        with self.writer.as_default(step=update):
            tf.summary.image("validation/row", np.hstack(row)[None], description=title)


def _middle(lr, hr, scale: int, side: int):
    height, width = (min(side, length) for length in lr.shape[:2])
    top, left = (lr.shape[0] - height) // 2, (lr.shape[1] - width) // 2
    crop = np.s_[top * scale : (top + height) * scale, left * scale : (left + width) * scale]
    return lr[top : top + height, left : left + width], hr[crop]


def _spoken(means: dict[str, float]) -> str:
    text = f"PSNR-Y {means['psnr_y']:.3f} dB, SSIM-Y {means['ssim_y']:.4f}"
    if "s_mean" in means:
        text += f", s {means['s_min']:.2f} / {means['s_mean']:.2f} / {means['s_max']:.2f}"
    return text
