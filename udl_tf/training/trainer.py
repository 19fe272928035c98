"""Train step: trains a network, with pixel weights where the loss needs them."""

from collections.abc import Callable

import keras
from keras import ops

from udl_tf import weighting
from udl_tf.config import WeightingConfig
from udl_tf.data.resident import ResidentSet
from udl_tf.distributed.model import GroupModel
from udl_tf.models import mean_part, uncertainty_part


class Trainer(GroupModel):
    """Trains a network on batches of `data.draws.cut_batch` with `fit`, on every Keras backend.

    Args:
        network: lr -> {"sr", "log_scale"}, or {"sr"} alone if the loss needs no log scale.
        loss: one of udl_tf.losses; it gets the whole prediction, and w as sample_weight.
        pixel_weight: function (lr, hr, ...) -> w for a UDL step, or None; it gets the float32
            values of a batch (`batch_values`). Being a function, it hides its frozen network from
            Keras, which would otherwise train it and, under JAX, remove its variables during `fit`.

    Attributes:
        resident: training set on the device, which cuts a batch from places in it; None: batches
            arrive complete.
    """

    def __init__(
        self,
        network: keras.Model,
        loss: keras.losses.Loss,
        pixel_weight: Callable | None = None,
    ):
        super().__init__(name="trainer")
        self.network = network
        self.sr_loss = loss
        self.pixel_weight = pixel_weight
        self.resident: ResidentSet | None = None
        self.built = True

    def call(self, lr, training=False):
        return self.network(lr, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return self.sr_loss(y, y_pred, sample_weight)

    def make_train_function(self, force=False):
        if keras.backend.backend() != "jax" or self.steps_per_execution == 1:
            super().make_train_function(force)
        elif self.train_function is None or force:
            from udl_tf.training.scanned import scanned

            self.train_function = scanned(self.train_step, self.steps_per_execution)

    def train_step(self, *args):
        *state, batch = args  # TensorFlow passes the batch, JAX the state and the batch
        values = batch_values(*self._complete(batch, *state))
        w = self.pixel_weight(*values) if self.pixel_weight else None
        lr, hr, *_ = values
        return super().train_step(*state, (lr, hr, w))

    def _complete(self, batch, state=((), ())):
        """Returns the batch; with a resident set, cuts its patches first."""
        if self.resident is None:
            return batch
        # Under JAX, the variables have their values in the state.
        values = zip(self.non_trainable_variables, state[1], strict=False)
        with keras.StatelessScope(state_mapping=list(values)):
            return self.resident(*batch)


def batch_values(lr, hr, *mapped) -> tuple:
    """Returns the float32 values (lr, hr) or (lr, hr, s) of a batch from `cut_batch`.

    Computed on the device, so that uint8 travels to it: a quarter of the bytes.
    """
    lr, hr = ops.cast(lr, "float32"), ops.cast(hr, "float32")
    if not mapped:
        return lr, hr
    levels, a, b = mapped
    return lr, hr, a + b * ops.cast(levels, "float32")


def make_pixel_weight(
    config: WeightingConfig, frozen: keras.Model, scale: int, cached: bool = False
) -> Callable:
    """Returns the function (lr, hr) -> w of a UDL step, or (lr, hr, s) -> w if `cached`.

    Args:
        config: source and scale of the weights.
        frozen: network of the previous step, of which only the part that the source needs is run.
        scale: HR over LR size.
        cached: whether batches contain s, so that the frozen network is not run.
    """
    options = config.model_dump(exclude={"source"})
    if cached:
        return lambda lr, hr, s: weighting.uncertainty_weight(s, **options)
    if config.source == "uncertainty":
        part = uncertainty_part(frozen)
        part.trainable = False
        return lambda lr, hr: weighting.uncertainty_weight(
            part(lr, training=False)["log_scale"], **options
        )
    if config.source == "error_map":
        part = mean_part(frozen)
        part.trainable = False
        return lambda lr, hr: weighting.error_map_weight(
            hr, part(lr, training=False)["sr"], **options
        )
    if config.source == "hr_gradient":
        return lambda lr, hr: weighting.hr_gradient_weight(hr, **options)
    return lambda lr, hr: weighting.lr_gradient_weight(lr, scale=scale, **options)
