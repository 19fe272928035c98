"""Train step: trains a network, with pixel weights where the loss needs them."""

from collections.abc import Callable

import keras
from keras import ops

from udl_tf.data.resident import ResidentSet
from udl_tf.distributed.model import GroupModel
from udl_tf.models.fake_quantization import fake_quantized
from udl_tf.tasks import SRModel


class Trainer(GroupModel, SRModel):
    """SRModel for batches of `data.draws.cut_batch`, several updates per device call.

    `fit` takes them as `data.pipeline.make_delivery` delivers them for as many updates per call.

    Args:
        network: lr -> {"sr", "log_scale"}, or {"sr"} alone if the loss needs no log scale.
        loss: one of udl_tf.losses.
        pixel_weight: function (lr, hr, ...) -> w for a UDL step, or None; it gets the float32
            values of a batch (`batch_values`).
        quantize: whether to train in simulated int8.

    Attributes:
        resident: training set on the device, which cuts a batch from places in it; None: batches
            arrive complete.
    """

    def __init__(
        self,
        network: keras.Model,
        loss: keras.losses.Loss,
        pixel_weight: Callable | None = None,
        quantize: bool = False,
    ):
        SRModel.__init__(self, network, name="trainer")
        self._loss = loss
        self.pixel_weight = pixel_weight
        self.resident: ResidentSet | None = None
        self._forward = fake_quantized(network) if quantize else None

    @property
    def network(self) -> keras.Model:
        """The network that is trained."""
        return self.backbone

    def _default_loss(self):
        return self._loss

    def call(self, lr, training=None, mask=None):
        if training and self._forward is not None:
            return self._forward(ops.cast(lr, "float32"))
        return super().call(lr, training, mask)

    def make_train_function(self, force=False):
        if self.steps_per_execution == 1:
            super().make_train_function(force)
        elif self.train_function is None or force:
            self.train_function = _several_updates(self)

    def train_step(self, *args):
        *state, batch = args  # TensorFlow passes the batch, JAX the state and the batch
        return super().train_step(*state, self._complete(batch, *state))

    def _weighted(self, batch):
        values = batch_values(*batch)
        lr, hr, *_ = values
        if keras.backend.standardize_dtype(batch[1].dtype) == "uint8":
            w = self.pixel_weight(*values) if self.pixel_weight else None
            return lr, hr, w
        valid = ops.isfinite(hr)  # NaN: pixels of measurements without data
        w = self.pixel_weight(*values, valid=valid) if self.pixel_weight else 1.0
        # The mean over all values becomes the weighted one over the valid values of the batch.
        share = self.mean_over_replicas(ops.mean(ops.cast(valid, "float32")))
        w = ops.where(valid, w, 0.0) / ops.maximum(share, keras.config.epsilon())
        return lr, ops.where(valid, hr, 0.0), w

    def _complete(self, batch, state=((), ())):
        """Returns the batch; with a resident set, cuts its patches first."""
        if self.resident is None:
            return batch
        # Under JAX, the variables have their values in the state.
        values = zip(self.non_trainable_variables, state[1], strict=False)
        with keras.StatelessScope(state_mapping=list(values)):
            return self.resident(*batch)


def _several_updates(trainer: Trainer) -> Callable:
    """Returns the train function of a trainer with several updates per device call."""
    if keras.backend.backend() == "jax":
        from udl_tf.training.scanned import scanned

        return scanned(trainer.train_step, trainer.steps_per_execution)
    from udl_tf.training.stacked import stacked

    return stacked(trainer, trainer.steps_per_execution)


def batch_values(lr, hr, *mapped) -> tuple:
    """Returns the float32 values (lr, hr) or (lr, hr, s) of a batch from `cut_batch`.

    Computed on the device, so that 8-bit images travel to it as uint8: a quarter of the bytes.
    """
    lr, hr = ops.cast(lr, "float32"), ops.cast(hr, "float32")
    if not mapped:
        return lr, hr
    levels, a, b = mapped
    return lr, hr, a + b * ops.cast(levels, "float32")
