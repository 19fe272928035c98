"""Validation on held-out images during training, by the metrics of the evaluation."""

from collections.abc import Sequence
from logging import getLogger

import numpy as np

from udl_tf.data.store import ImageStore
from udl_tf.evaluation.image_metrics import PER_CHANNEL, image_metrics, mean_metrics, metric_text
from udl_tf.imaging.resize import imresize
from udl_tf.imaging.theta_map import captioned_map
from udl_tf.imaging.titled_row import titled_row
from udl_tf.inference.chain_runner import make_forward
from udl_tf.metrics import TITLES
from udl_tf.models import uncertainty_part
from udl_tf.training.data import MIDDLE_SIDE, middles
from udl_tf.training.liveness import is_dead
from udl_tf.training.tensorboard import TensorBoardLog

log = getLogger(__name__)


class Validation:
    """Measures PSNR, SSIM and the range of s, and shows one image on TensorBoard.

    Args:
        held_out: images, of which `middles` are used.
        bands: channels, from 1, that are shown as red, green and blue if there are more than three.
        network: lr -> {"sr"} or {"sr", "log_scale"}.
        frozen: network of the previous step, for s if `network` does not compute it; or None.
        board: log for TensorBoard.
        side: largest side of the middle, HR pixels.

    Attributes:
        history: results so far, with the number of updates.
    """

    def __init__(
        self,
        held_out: ImageStore,
        network,
        frozen,
        board: TensorBoardLog,
        bands: Sequence[int] = (1, 2, 3),
        side: int = MIDDLE_SIDE,
    ):
        names, self.pairs = middles(held_out, side)
        self.images = names[0] if len(names) == 1 else f"{len(names)} images"
        self.scale, self.pixels, self.bands = held_out.scale, held_out.pixels, bands
        self.network = network
        self.predict = make_forward(network)
        with_s = frozen is not None and "log_scale" in frozen.output
        self.predict_s = make_forward(uncertainty_part(frozen)) if with_s else None
        self.board = board
        self.history: list[dict[str, float]] = []

    def __call__(self, update: int) -> dict[str, float]:
        """Validates the network after `update` updates; returns the means over the images."""
        values, ranges, predict_s = [], [], self.predict_s
        for index, (lr, hr) in enumerate(self.pairs):
            prediction = self.predict(lr[None])
            if "log_scale" not in prediction and predict_s is not None:
                prediction |= predict_s(lr[None])
            prediction = {name: values[0] for name, values in prediction.items()}
            sr = self.pixels.rounded(prediction["sr"])
            values.append(image_metrics(sr, hr, self.scale, self.pixels))
            log_scale = prediction.get("log_scale")
            if log_scale is not None:
                ranges.append((log_scale.min(), log_scale.mean(), log_scale.max()))
            if index == 0:
                self._show(lr, sr, hr, log_scale, update)
        means = mean_metrics(values)
        for name in PER_CHANNEL:
            means.pop(name, None)
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
        images = {title: self.pixels.as_rgb(image, self.bands) for title, image in images.items()}
        if log_scale is not None:
            theta = captioned_map(np.exp(log_scale), [], size=max(10, size // 2))
            images["theta"] = np.asarray(theta)
        self.board.write_image("validation/row", titled_row(images, size), update)


def _as_text(means: dict[str, float]) -> str:
    text = ", ".join(metric_text(name, means[name]) for name in TITLES if name in means)
    if "s_mean" in means:
        text += f", s {means['s_min']:.2f} / {means['s_mean']:.2f} / {means['s_max']:.2f}"
    return text
