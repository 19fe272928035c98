"""Keras models for users: a network with its uncertainty, losses, metrics and steps."""

from udl_tf.tasks.image_metrics import PSNR, PSNRY, SSIM, SSIMY
from udl_tf.tasks.sr_model import SRModel
from udl_tf.tasks.theta import Theta

__all__ = ["PSNR", "PSNRY", "SSIM", "SSIMY", "SRModel", "Theta"]
