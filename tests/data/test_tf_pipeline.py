import numpy as np

from udl_tf.data.pipeline import Waiting
from udl_tf.data.tf_pipeline import TFDataDelivery


def test_autotuning_of_tf_data_is_off():
    """Its thread sleeps for up to a minute, and deleting the iterator would wait for it."""
    delivery = TFDataDelivery(lambda update, rows: (np.zeros(1),), 1, 0, Waiting())
    assert delivery.batches().options().autotune.enabled is False
