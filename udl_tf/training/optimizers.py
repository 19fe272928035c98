"""Optimizers: those that a config names, and Muon for convolutions."""

import keras
from keras import ops

from udl_tf.config import OptimizerConfig

_IMAGE_CHANNELS = 3


@keras.saving.register_keras_serializable("udl_tf")
class Muon(keras.optimizers.Muon):
    """Muon for convolutions: the update of a kernel has singular values near 1.

    A kernel (rows, columns, inputs, outputs) is treated as a matrix of shape (rows * columns *
    inputs, outputs). Adam updates biases, scalars, and kernels that read or write an image; in
    Keras' Muon it updates all kernels of convolutions.

    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon; scale of the updates
    from Liu et al. 2025 (arXiv 2502.16982), with which learning rates are similar to Adam's.
    """

    def _should_use_adamw(self, variable):
        return len(variable.shape) != 4 or min(variable.shape[-2:]) <= _IMAGE_CHANNELS

    def zeropower_via_newtonschulz5(self, x, steps: int):
        matrix = super().zeropower_via_newtonschulz5(_as_matrix(x), steps)
        return ops.reshape(matrix, x.shape)

    def lr_adjust(self, x):
        return ops.reshape(super().lr_adjust(_as_matrix(x)), x.shape)


def _as_matrix(kernel):
    return ops.reshape(kernel, (-1, kernel.shape[-1]))


def make_optimizer(
    config: OptimizerConfig, updates: int, learning_rate: float | None = None, replicas: int = 1
) -> keras.optimizers.Optimizer:
    """Returns the optimizer of one step.

    Args:
        config: optimizer section of the config.
        updates: updates over which the learning rate schedule runs.
        learning_rate: initial learning rate; None: that of the config.
        replicas: number of replicas. Each clips its gradient before they are summed, to an equal
            share of clip_norm, so that the norm of the sum is at most clip_norm.
    """
    initial = config.learning_rate if learning_rate is None else learning_rate
    schedules = keras.optimizers.schedules
    rate = {
        "constant": lambda: initial,
        "cosine": lambda: schedules.CosineDecay(initial, updates),
        "halving": lambda: schedules.ExponentialDecay(
            initial, max(1, round(updates * config.halve_every)), 0.5, staircase=True
        ),
    }[config.schedule]()
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
