"""Validation on held-out images during training, by the metrics of the evaluation."""

from logging import getLogger

import numpy as np

from udl_tf.data.store import middle
from udl_tf.imaging.dtypes import to_dtype
from udl_tf.imaging.resize import imresize
from udl_tf.imaging.theta_map import captioned_map
from udl_tf.imaging.titled_row import titled_row
from udl_tf.inference.chain_runner import make_forward
from udl_tf.metrics import psnr_y, ssim_y
from udl_tf.models import uncertainty_part
from udl_tf.training.liveness import is_dead
from udl_tf.training.tensorboard import TensorBoardLog

log = getLogger(__name__)


class Validation:
    """Measures PSNR, SSIM and the range of s, and shows one image on TensorBoard.

    Args:
        pairs: pairs (lr, hr) of uint8 images, of which the middle is used.
        names: of the images.
        scale: HR over LR size.
        network: lr -> {"sr"} or {"sr", "log_scale"}.
        frozen: network of the previous step, for s if `network` does not compute it; or None.
        board: log for TensorBoard.
        side: largest side of the middle, HR pixels.

    Attributes:
        history: results so far, with the number of updates.
    """

    def __init__(
        self, pairs, names, scale: int, network, frozen, board: TensorBoardLog, side: int = 256
    ):
        self.images = names[0] if len(names) == 1 else f"{len(names)} images"
        self.scale = scale
        self.network = network
        self.predict = make_forward(network)
        with_s = frozen is not None and "log_scale" in frozen.output
        self.predict_s = make_forward(uncertainty_part(frozen)) if with_s else None
        self.board = board
        self.history: list[dict[str, float]] = []
        self.pairs = [middle(lr, hr, scale, side // scale) for lr, hr in pairs]

    def __call__(self, update: int) -> dict[str, float]:
        """Validates the network after `update` updates; returns the means over the images."""
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
                self._show(lr, sr, hr, log_scale, update)
        means = dict(zip(("psnr_y", "ssim_y"), np.mean(values, axis=0).tolist(), strict=True))
        if ranges:
            low, mean, high = zip(*ranges, strict=True)
            means |= {"s_min": min(low), "s_mean": float(np.mean(mean)), "s_max": max(high)}
        means = {name: float(value) for name, value in means.items()}
        self.board.write_scalars({f"validation/{name}": x for name, x in means.items()}, update)
        self.board.flush()
        self.history.append({"update": update, **means})
        log.info("validation on %s at update %d: %s", self.images, update, _as_text(means))
        return means

    def finds_death(self) -> bool:
        """Returns whether the network is dead, as is_dead finds on the first validation image."""
        return is_dead(self.network, self.predict, self.pairs[0][0][None])

    def _show(self, lr, sr, hr, log_scale, update: int) -> None:
        size = max(10, hr.shape[1] // 6)  # of the titles: readable in TensorBoard's small view
        images = {
            "LR": lr.repeat(self.scale, axis=0).repeat(self.scale, axis=1),
            "bicubic": imresize(lr, self.scale),
            "SR": sr,
            "HR": hr,
        }
        if log_scale is not None:
            theta = captioned_map(np.exp(log_scale), [], size=max(10, size // 2))
            images["theta"] = np.asarray(theta)
        self.board.write_image("validation/row", titled_row(images, size), update)


def _as_text(means: dict[str, float]) -> str:
    text = f"PSNR-Y {means['psnr_y']:.3f} dB, SSIM-Y {means['ssim_y']:.4f}"
    if "s_mean" in means:
        text += f", s {means['s_min']:.2f} / {means['s_mean']:.2f} / {means['s_max']:.2f}"
    return text
