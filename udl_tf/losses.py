"""Losses of the uncertainty-driven loss paper and those that it compares with.

    L1    |x - f|
    MSE   (x - f)^2
    EU    exp(-s) |x - f| + s
    ESU   exp(-s) |x - f| + 2 s
    UDL   w |x - f|
    GRAM  sg(sigmoid(z)) (exp(-z) |e|^p + z),  e = (x - f) / unit
    beta-NLL  sg(theta^beta) (exp(-s) |x - f| + 2 s)

x is `hr` and f `prediction["sr"]`, in grey levels of 0..255; s = ln theta is
`prediction["log_scale"]`; all are float32 (n, h, w, c). sg stops the gradient. Each loss is the
mean over all values, multiplied by `sample_weight` (n, h, w, c) if given, and divided by the number
of replicas as all Keras losses.

Source: Ning et al., Uncertainty-Driven Loss for Single Image Super-Resolution, NeurIPS 2021. GRAM:
Lee and Chung, GRAM: Gradient Rescaling Attention Model for Data Uncertainty Estimation in Single
Image Super Resolution, 2019. beta-NLL: Seitzer et al., On the Pitfalls of Heteroscedastic
Uncertainty Estimation with Probabilistic Neural Networks, ICLR 2022, here on ESU.
"""

import keras
from keras import ops


class SRLoss(keras.losses.Loss):
    """Loss of a prediction {"sr", "log_scale"}, float32 under every precision policy.

    Attributes:
        needs_log_scale: whether the loss reads `prediction["log_scale"]`.
        unit, power: the learned theta is unit * exp(log_scale / power), in grey levels.
    """

    needs_log_scale = False
    unit = 1.0
    power = 1.0

    def __init__(self, name: str | None = None):
        super().__init__(name=name, reduction="sum_over_batch_size", dtype="float32")

    def get_config(self):
        return {"name": self.name}


@keras.saving.register_keras_serializable("udl_tf")
class L1Loss(SRLoss):
    """|x - f|: mean absolute error, in grey levels."""

    def call(self, hr, prediction):
        return ops.abs(hr - prediction["sr"])


@keras.saving.register_keras_serializable("udl_tf")
class MSELoss(SRLoss):
    """(x - f)^2: mean squared error, in squared grey levels."""

    def call(self, hr, prediction):
        return ops.square(hr - prediction["sr"])


@keras.saving.register_keras_serializable("udl_tf")
class EULoss(SRLoss):
    """exp(-s) |x - f| + s: negative Laplace log-likelihood; the optimum of s is ln E|x - f|."""

    needs_log_scale = True

    def call(self, hr, prediction):
        s = prediction["log_scale"]
        return ops.exp(-s) * ops.abs(hr - prediction["sr"]) + s


@keras.saving.register_keras_serializable("udl_tf")
class ESULoss(SRLoss):
    """exp(-s) |x - f| + 2 s: EU with Jeffreys' prior; the optimum of s is ln(E|x - f| / 2)."""

    needs_log_scale = True

    def call(self, hr, prediction):
        s = prediction["log_scale"]
        return ops.exp(-s) * ops.abs(hr - prediction["sr"]) + 2.0 * s


@keras.saving.register_keras_serializable("udl_tf")
class BetaNLLLoss(ESULoss):
    """sg(theta^beta) (exp(-s) |x - f| + 2 s): ESU with pixels weighted by their uncertainty.

    The optimum of s is that of ESU. The gradient of sr is that of ESU for beta = 0 and of plain L1
    for beta = 1; beyond 1, uncertain pixels weigh more, as with UDL but in a single step.

    Args:
        beta: 0..2; above 1.5, few pixels dominate.
    """

    def __init__(self, beta: float = 1.0, name: str | None = None):
        if not 0 <= beta <= 2:
            raise ValueError(f"beta must be in 0..2. Received: beta={beta}")
        super().__init__(name=name)
        self.beta = beta

    def call(self, hr, prediction):
        importance = ops.exp(self.beta * ops.stop_gradient(prediction["log_scale"]))
        return importance * super().call(hr, prediction)

    def get_config(self):
        return {**super().get_config(), "beta": self.beta}


@keras.saving.register_keras_serializable("udl_tf")
class UDLLoss(L1Loss):
    """w |x - f|: L1 with the pixel weights of `udl_tf.weighting` as `sample_weight`.

    Raises:
        ValueError: if called without weights.
    """

    def __call__(self, y_true, y_pred, sample_weight=None):
        if sample_weight is None:
            raise ValueError("UDLLoss expects its weights w as sample_weight. Received: None")
        return super().__call__(y_true, y_pred, sample_weight)


@keras.saving.register_keras_serializable("udl_tf")
class GRAMLoss(SRLoss):
    """sg(sigmoid(z)) (exp(-z) |e|^p + z) with e = (x - f) / unit and z clipped to -10..10.

    z is `prediction["log_scale"]` of a network built with `log_scale_activation="linear"`.

    Args:
        unit: unit of e, grey levels; the loss depends on it. 127.5 as released.
        power: 2 as released (z is a log variance); 1 is the absolute-error mode.
    """

    needs_log_scale = True

    def __init__(self, unit: float = 127.5, power: float = 2.0, name: str | None = None):
        for option, value in {"unit": unit, "power": power}.items():
            if not value > 0:
                raise ValueError(f"{option} must be positive. Received: {option}={value}")
        super().__init__(name=name)
        self.unit = unit
        self.power = power

    def call(self, hr, prediction):
        z = ops.clip(prediction["log_scale"], -10.0, 10.0)
        e = ops.abs(hr - prediction["sr"]) / self.unit
        attention = ops.stop_gradient(ops.sigmoid(z))
        return attention * (ops.exp(-z) * ops.power(e, self.power) + z)

    def get_config(self):
        return {**super().get_config(), "unit": self.unit, "power": self.power}


LOSSES = {
    "l1": L1Loss,
    "mse": MSELoss,
    "eu": EULoss,
    "esu": ESULoss,
    "beta_nll": BetaNLLLoss,
    "udl": UDLLoss,
    "gram": GRAMLoss,
}
"""Losses by their names in configs."""
