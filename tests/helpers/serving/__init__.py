"""Clients of TensorFlow Serving, and a stand-in for it on one's own machine."""

from udl_tf.saved.client import Client

__all__ = ["Client"]
