"""Training and test data: datasets, decoded image pairs, packs, batches of patches."""

from typing import TYPE_CHECKING

from udl_tf._support.lazy import lazy_names

if TYPE_CHECKING:
    from udl_tf.data.pipeline import training_batches as training_batches
    from udl_tf.data.sources import bundled_dataset as bundled_dataset
    from udl_tf.data.sources import folder_dataset as folder_dataset
    from udl_tf.data.store import ImageStore as ImageStore
    from udl_tf.data.store import read_pair as read_pair

__all__ = ["ImageStore", "bundled_dataset", "folder_dataset", "read_pair", "training_batches"]

__getattr__ = lazy_names(
    __name__,
    {
        "ImageStore": "store",
        "bundled_dataset": "sources",
        "folder_dataset": "sources",
        "read_pair": "store",
        "training_batches": "pipeline",
    },
)
