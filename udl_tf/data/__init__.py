"""Training and test data: datasets, decoded image pairs, packs, batches of patches."""

from typing import TYPE_CHECKING

from udl_tf._support.lazy import lazy_names

if TYPE_CHECKING:
    from udl_tf.data.pipeline import make_delivery as make_delivery
    from udl_tf.data.sources import bundled_dataset as bundled_dataset
    from udl_tf.data.sources import folder_dataset as folder_dataset
    from udl_tf.data.store import ImageStore as ImageStore
    from udl_tf.data.store import read_pair as read_pair

__all__ = ["ImageStore", "bundled_dataset", "folder_dataset", "make_delivery", "read_pair"]

__getattr__ = lazy_names(
    __name__,
    {
        "ImageStore": "store",
        "bundled_dataset": "sources",
        "folder_dataset": "sources",
        "make_delivery": "pipeline",
        "read_pair": "store",
    },
)
