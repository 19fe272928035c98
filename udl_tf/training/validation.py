"""How good the network is while it trains: held-out images, by the same metrics as the result."""

from logging import getLogger

import numpy as np
import tensorflow as tf

from udl_tf.imaging.dtypes import to_dtype
from udl_tf.imaging.resize import imresize
from udl_tf.imaging.theta_map import colorize
from udl_tf.inference.chain_runner import make_forward
from udl_tf.metrics import psnr_y, ssim_y
from udl_tf.models import uncertainty_part

log = getLogger(__name__)


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
            prediction = self.predict(lr[None])
            if "log_scale" not in prediction and self.predict_s is not None:
                prediction |= self.predict_s(lr[None])
            prediction = {name: values[0] for name, values in prediction.items()}
            sr = to_dtype(prediction["sr"], np.uint8)
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
