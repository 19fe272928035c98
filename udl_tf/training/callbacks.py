"""What happens along the way: progress, TensorBoard, validation, checkpoints, stopping."""

import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
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


class Clock(keras.callbacks.Callback):
    """Counts the updates of a step. First in the list: the others read the update just done.

    Args:
        update: updates done before.
        total: updates of the whole step.
    """

    def __init__(self, update: int, total: int):
        super().__init__()
        self.update = update
        self.total = total

    def on_train_batch_end(self, batch, logs=None):
        self.update += 1

    def due(self, interval: int) -> bool:
        """Whether this update is an `interval`-th one or the last."""
        return self.update % interval == 0 or self.update == self.total


def _loss(logs: dict | None) -> float:
    """Keras' running mean of the loss since the metrics were last reset."""
    return float((logs or {})["loss"])


class StopOnDivergence(keras.callbacks.Callback):
    """Raises Diverged, naming the update, as soon as the loss is not finite."""

    def __init__(self, clock: Clock, name: str):
        super().__init__()
        self.clock = clock
        self.name = name

    def on_train_batch_end(self, batch, logs=None):
        loss = _loss(logs)
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
        writer: TensorBoard's tf.summary writer.
    """

    def __init__(self, clock: Clock, name: str, batch_size: int, every: int, writer):
        super().__init__()
        self.clock = clock
        self.name = name
        self.batch_size = batch_size
        self.every = every
        self.writer = writer

    def on_train_begin(self, logs=None):
        self._since = (time.monotonic(), self.clock.update)
        self._rate = 0.0
        self._drawn = 0.0

    def on_train_batch_end(self, batch, logs=None):
        clock = self.clock
        now = time.monotonic()
        if clock.due(self.every):
            start, first = self._since
            self._rate = (clock.update - first) / max(now - start, 1e-9)
            self._since = (now, clock.update)
            loss = _loss(logs)
            self._draw("")
            log.info("%s", self._line(loss))
            self._write_points(loss)
            self.model.reset_metrics()
        elif now - self._drawn > 0.2:
            self._drawn = now
            self._draw(self._line(_loss(logs)))

    def _write_points(self, loss: float) -> None:
        learning_rate = keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
        with self.writer.as_default(step=self.clock.update):
            tf.summary.scalar("train/loss", loss)
            tf.summary.scalar("train/learning_rate", learning_rate)
            tf.summary.scalar("train/patches_per_second", self._rate * self.batch_size)

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
    def _draw(line: str) -> None:
        if sys.stderr.isatty():
            print(f"\r{line}\x1b[K", end="", file=sys.stderr, flush=True)


class Validate(keras.callbacks.Callback):
    """Judges the network at every `interval`-th update and at the last.

    Args:
        clock: of the step.
        interval: updates between judgements.
        validation: what judges.
        ema: whether the optimizer keeps a moving average of the weights, which is then judged.
    """

    def __init__(self, clock: Clock, interval: int, validation: "Validation", ema: bool):
        super().__init__()
        self.clock = clock
        self.interval = interval
        self.validation = validation
        self.ema = ema

    def on_train_batch_end(self, batch, logs=None):
        if self.clock.due(self.interval):
            model = self.model  # under JAX, this brings the variables up to date
            with _averaged_weights(model) if self.ema else nullcontext():
                self.validation(self.clock.update)


@contextmanager
def _averaged_weights(model: keras.Model) -> Iterator[None]:
    """Inside, the model has the optimizer's moving average of its weights.

    Keras swaps back by adding and subtracting, which rounds; so the state is copied and put back.
    """
    variables = [*model.trainable_variables, *model.optimizer.variables]
    state = [keras.ops.convert_to_numpy(variable) for variable in variables]
    swap = keras.callbacks.SwapEMAWeights()
    swap.set_model(model)
    swap.on_test_begin()
    try:
        yield
    finally:
        for variable, value in zip(variables, state, strict=True):
            variable.assign(value)


class Checkpoints(keras.callbacks.Callback):
    """Saves at every `interval`-th update, and when a signal asks the run to stop.

    Ctrl-C and SIGTERM end the update at hand, save and stop; a second Ctrl-C ends at once.

    Args:
        clock: of the step.
        interval: updates between checkpoints.
        save: writes the state; False if a weight is not finite.
    """

    def __init__(self, clock: Clock, interval: int, save: Callable[[], bool]):
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
            model = self.model  # under JAX, this brings the variables up to date
            if not self.save():
                raise Diverged(
                    f"a weight is no finite number after update {self.clock.update}; the last good"
                    " checkpoint is kept: lower optimizer.learning_rate or set optimizer.clip_norm"
                )
            if self.interrupted:
                model.stop_training = True

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
