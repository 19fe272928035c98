"""Keras callbacks: count of updates, validation, checkpoints, divergence."""

import math
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging import getLogger

import keras
import numpy as np

from udl_tf.errors import UserError
from udl_tf.training.liveness import restored
from udl_tf.training.validation import Validation

log = getLogger(__name__)

_REMEDY = (
    "lower optimizer.learning_rate, or set optimizer.warmup or optimizer.clip_norm, and train in a"
    " new run folder (this one still has everything that was saved before)"
)


class Diverged(UserError):
    """The loss or a weight is not finite, or the network is dead."""


class CallbackList(keras.callbacks.CallbackList):
    """Callbacks that get the logs of an update unconverted, and possibly not computed yet.

    Keras converts them to numbers after every device call, which waits for the device; without
    that, the next call is queued while the previous one runs.
    """

    def on_train_batch_end(self, batch, logs=None):
        for callback in self.callbacks:
            callback.on_train_batch_end(batch, logs)


class Clock(keras.callbacks.Callback):
    """Counts the updates of a step; must be the first callback, because the others read it.

    Args:
        update: updates done before.
        total: updates of the whole step.

    Attributes:
        update: updates done so far.
        total: the same.
        previous: (updates done, logs) after the previous device call: reading the loss there does
            not wait for the current call. None at the first call.
    """

    def __init__(self, update: int, total: int):
        super().__init__()
        self.update = self._before = update
        self.total = total
        self.previous: tuple[int, dict] | None = None
        self._current: tuple[int, dict] | None = None

    def on_train_batch_end(self, batch, logs=None):
        self.update = self._before + batch + 1  # of several updates per call: the last
        self.previous, self._current = self._current, (self.update, logs or {})

    def due(self, interval: int) -> bool:
        """Returns whether the update is a multiple of `interval`, or the last."""
        return self.update % interval == 0 or self.update == self.total


def loss_of(logs: dict | None) -> float:
    """Returns the mean loss since the metrics were last reset; waits until it is computed."""
    return float((logs or {})["loss"])


class StopOnDivergence(keras.callbacks.Callback):
    """Raises Diverged, naming the update, if the loss is not finite.

    The loss of a device call is checked after the next call has been started. Weights are
    checked too, because the loss shows a bad update only at the next one.

    Args:
        clock: clock of the step.
        name: name of the step, such as "step 1/2 esu".
        interval: updates between two checks of the weights and the current loss; those of the last
            update are checked too.
    """

    def __init__(self, clock: Clock, name: str, interval: int):
        super().__init__()
        self.clock = clock
        self.name = name
        self.interval = interval

    def on_train_batch_end(self, batch, logs=None):
        if self.clock.previous is not None:
            self._check(*self.clock.previous)
        if self.clock.due(self.interval):
            self._check(self.clock.update, logs)
            model = self.model  # the property updates the variables under JAX
            if not all(np.isfinite(weight).all() for weight in model.network.get_weights()):
                raise Diverged(
                    f"{self.name}: a weight is not finite after update {self.clock.update};"
                    f" {_REMEDY}"
                )

    def _check(self, update: int, logs: dict | None) -> None:
        loss = loss_of(logs)
        if not math.isfinite(loss):
            raise Diverged(f"{self.name}: the loss became {loss} at update {update}; {_REMEDY}")


class Validate(keras.callbacks.Callback):
    """Validates every `interval` updates and after the last; raises Diverged for a dead network.

    Args:
        clock: clock of the step.
        name: name of the step, such as "step 1/2 esu".
        interval: updates between two validations.
        validation: function of the number of updates done.
    """

    def __init__(self, clock: Clock, name: str, interval: int, validation: Validation):
        super().__init__()
        self.clock = clock
        self.name = name
        self.interval = interval
        self.validation = validation

    def on_train_batch_end(self, batch, logs=None):
        if self.clock.due(self.interval):
            model = self.model  # the property updates the variables under JAX
            with averaged_weights(model):
                self.validation(self.clock.update)
            # Not of the moving average: it may still be zero if mixed_float16 skipped the first
            # updates.
            if self.validation.finds_death():
                raise Diverged(
                    f"{self.name}: the network is dead after update {self.clock.update}: its"
                    f" result ignores the image, or all its ReLUs output zero; {_REMEDY}"
                )


@contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Gives the model the weights of a finished step inside the block.

    They are their moving average if the optimizer computes one, as at the end of `fit`.
    """
    with restored(model.trainable_variables):
        model.optimizer.finalize_variable_values(model.trainable_variables)
        yield


class Checkpoints(keras.callbacks.Callback):
    """Saves every `interval` updates and after the last; stops at Ctrl-C or SIGTERM.

    A signal lets the current update finish, then saves and stops; a second Ctrl-C stops at once.

    Args:
        clock: clock of the step.
        interval: updates between two checkpoints.
        save: saves the state; returns False if a value is not finite.
        agree: function (whether this process is asked to stop) -> whether any process is, called
            after each update.

    Attributes:
        interrupted: whether this process was asked to stop.
    """

    def __init__(
        self,
        clock: Clock,
        interval: int,
        save: Callable[[], bool],
        agree: Callable[[bool], bool] = bool,
    ):
        super().__init__()
        self.clock = clock
        self.interval = interval
        self.save = save
        self.agree = agree
        self.interrupted = False
        self._handlers = {}

    def on_train_begin(self, logs=None):
        self._handlers = {s: signal.signal(s, self._ask) for s in (signal.SIGINT, signal.SIGTERM)}

    def restore_handlers(self):
        """Restores the previous signal handlers; to be called after `fit`."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def on_train_batch_end(self, batch, logs=None):
        stop = self.agree(self.interrupted)
        if stop or self.clock.due(self.interval):
            model = self.model  # the property updates the variables under JAX
            if not self.save():
                raise Diverged(f"a value is not finite after update {self.clock.update}; {_REMEDY}")
            if stop:
                model.stop_training = True

    def _ask(self, number, frame):
        self.interrupted = True
        log.info("stopping after this update ...")
        signal.signal(signal.SIGINT, signal.default_int_handler)
