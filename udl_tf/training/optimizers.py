"""Optimizers: those that a config names, and Muon for convolutions."""

from collections import defaultdict

import keras
from keras import ops

from udl_tf.config import OptimizerConfig

_FEW_CHANNELS = 3


@keras.saving.register_keras_serializable("udl_tf")
class Muon(keras.optimizers.Muon):
    """Muon for convolutions: the update of a kernel has singular values near 1.

    A kernel (rows, columns, inputs, outputs) is treated as a matrix of shape (rows * columns *
    inputs, outputs). Adam updates biases, scalars, and kernels of at most three inputs or
    outputs, such as those that read or write RGB; Keras' Muon leaves all convolution kernels to
    Adam. Keras updates each variable alone; here, matrices of one shape are orthogonalised as one
    stack: dozens of operations instead of about a thousand. The variables of the optimizer are
    those of Keras' Muon.

    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon; scale of the updates
    from Liu et al. 2025 (arXiv 2502.16982), with which learning rates are similar to Adam's.
    """

    def _should_use_adamw(self, variable):
        return len(variable.shape) != 4 or min(variable.shape[-2:]) <= _FEW_CHANNELS

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        if keras.backend.backend() == "tensorflow":
            # Keras sums the gradients over replicas, then calls _distributed_tf_update_step.
            super()._backend_update_step(grads, trainable_variables, learning_rate)
        else:
            self._update_all(grads, trainable_variables, learning_rate)

    def _distributed_tf_update_step(self, distribution, grads_and_vars, learning_rate):
        grads, variables = zip(*grads_and_vars, strict=True)
        # Any variable selects the device, on which all variables are updated together.
        distribution.extended.update(
            variables[0],
            lambda _, *arguments: self._update_all(*arguments),
            args=(grads, variables, learning_rate),
            group=False,
        )

    def _update_all(self, gradients, variables, learning_rate):
        """Updates all variables of one device."""
        kernels = defaultdict(list)  # (kernel, direction) by the shape of their matrix
        for gradient, variable in zip(gradients, variables, strict=True):
            if self._should_use_adamw(variable):
                self.update_step(gradient, variable, learning_rate)
            else:
                direction = self._direction(gradient, variable)
                kernels[direction.shape].append((variable, direction))
        for group in kernels.values():
            stack = ops.stack([direction for _, direction in group])
            stack = self.zeropower_via_newtonschulz5(stack, self.ns_steps)
            stack = self.lr_adjust(learning_rate * stack)
            for (variable, _), step in zip(group, ops.unstack(stack, len(group)), strict=True):
                self.assign_sub(variable, ops.reshape(step, variable.shape))

    def _direction(self, gradient, kernel):
        """Adds a gradient to the momentum of a kernel; returns the update's direction, a matrix."""
        momentum = self.momentums[self._get_variable_index(kernel)]
        self.assign_add(momentum, ops.add(gradient, momentum * (self.momentum - 1)))
        direction = ops.add(gradient, self.momentum * momentum) if self.nesterov else momentum
        return ops.reshape(direction, (-1, kernel.shape[-1]))

    def lr_adjust(self, x):
        """Scales a stack of matrices as Keras scales one matrix."""
        return x if self.rms_rate is None else x * (max(x.shape[1:]) ** 0.5 * self.rms_rate)


@keras.saving.register_keras_serializable("udl_tf")
class Warmup(keras.optimizers.schedules.LearningRateSchedule):
    """Linear rise of the learning rate during the first updates, then a schedule from its start.

    Args:
        updates: number of updates at lower rates: 1/(updates + 1), 2/(updates + 1), ... of the
            schedule's first rate.
        schedule: learning rate, or schedule of it, over the remaining updates.
    """

    def __init__(self, updates: int, schedule):
        super().__init__()
        self.updates = updates
        self.schedule = schedule

    def __call__(self, step):
        step = ops.cast(step, "float32")
        after = ops.maximum(step - self.updates, 0)
        rate = self.schedule(after) if callable(self.schedule) else self.schedule
        return rate * ops.minimum((step + 1) / (self.updates + 1), 1)

    def get_config(self):
        schedule = keras.saving.serialize_keras_object(self.schedule)
        return {"updates": self.updates, "schedule": schedule}

    @classmethod
    def from_config(cls, config):
        schedule = keras.saving.deserialize_keras_object(config["schedule"])
        return cls(config["updates"], schedule)


def make_optimizer(
    config: OptimizerConfig, updates: int, learning_rate: float | None = None, replicas: int = 1
) -> keras.optimizers.Optimizer:
    """Returns the optimizer of one step.

    Args:
        config: optimizer section of the config.
        updates: updates over which warm-up and learning rate schedule run.
        learning_rate: initial learning rate; None: that of the config.
        replicas: number of replicas. Each clips its gradient before they are summed, to an equal
            share of clip_norm, so that the norm of the sum is at most clip_norm.
    """
    initial = config.learning_rate if learning_rate is None else learning_rate
    schedules = keras.optimizers.schedules
    scheduled = max(1, updates - config.warmup)
    rate = {
        "constant": lambda: initial,
        "cosine": lambda: schedules.CosineDecay(initial, scheduled),
        "halving": lambda: schedules.ExponentialDecay(
            initial, max(1, round(scheduled * config.halve_every)), 0.5, staircase=True
        ),
    }[config.schedule]()
    if config.warmup:
        rate = Warmup(config.warmup, rate)
    clip_norm = config.clip_norm and config.clip_norm / replicas
    options = {"learning_rate": rate, "global_clipnorm": clip_norm}
    if config.ema is not None:
        options |= {"use_ema": True, "ema_momentum": config.ema}
    if config.name == "sgd":
        return keras.optimizers.SGD(**options)
    betas, decay = (config.beta_1, config.beta_2), config.weight_decay
    options["epsilon"] = config.epsilon
    if config.name == "muon":
        options |= {"adam_beta_1": betas[0], "adam_beta_2": betas[1]}
        return Muon(weight_decay=decay, adam_weight_decay=decay, **options)
    options |= {"beta_1": betas[0], "beta_2": betas[1]}
    if config.name == "adamw":
        return keras.optimizers.AdamW(weight_decay=decay, **options)
    return keras.optimizers.Adam(**options)
