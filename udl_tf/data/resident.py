"""Training set on the device, which cuts the patches itself."""

import gc
import weakref
from logging import getLogger

import keras
import numpy as np

from udl_tf._support.device_memory import free_gpu_memory
from udl_tf.config import DataConfig
from udl_tf.data.atlas import cut_patches, fill_atlas, plan_layout
from udl_tf.data.draws import Batch, HRMap
from udl_tf.data.store import ImageStore

log = getLogger(__name__)

_SHARE = 0.25  # of the free memory of a GPU
_alive: weakref.WeakSet["ResidentSet"] = weakref.WeakSet()


class ResidentSet(keras.layers.Layer):
    """Training set on the device. As a layer: places -> the batch that cut_batch would return.

    Its images are non-trainable variables: each replica has a copy, and JAX passes them to the
    train function like weights. Degraded LR patches come from the host: each is new, and small next
    to its HR patch.

    Args:
        store: training images.
        config: data section of the config, for the patch size.
        hr_map: further map of each image, or None; see cut_batch.
    """

    def __init__(self, store: ImageStore, config: DataConfig, hr_map: HRMap | None = None):
        super().__init__(name="resident_set", dtype="float32", trainable=False)
        self.store, self.config, self.hr_map = store, config, hr_map
        self.layout = plan_layout([store.lr_size(index) for index in range(len(store))])
        self.lr = None
        if not config.degradations:
            self.lr = self._variable(lambda index: store.pair(index)[0], 1, "lr")
        self.hr = self._variable(lambda index: store.pair(index)[1], store.scale, "hr")
        self.map = None
        if hr_map is not None:
            self.map = self._variable(lambda index: hr_map(index)[0], store.scale, "map")
        self.built = True
        _alive.add(self)

    def _variable(self, image, scale: int, name: str) -> keras.Variable:
        atlas = fill_atlas(self.layout, image, scale)
        return keras.Variable(atlas, dtype=atlas.dtype.name, trainable=False, name=name)

    def places(self, crops: np.ndarray, lr: np.ndarray | None = None) -> Batch:
        """Returns what the layer takes to cut the patches of a batch.

        Args:
            crops: as from CropDraws.
            lr: degraded LR patches, as from cut_lr, if the config has degradations.

        Returns:
            (places,), int32 (n, 5) as for cut_patches; then `lr` if given; with a map then a and b
            as for cut_batch.
        """
        index, places = crops[:, 0], crops[:, 1:].copy()
        places[:, 0] += self.layout.tops[index]
        places[:, 1] += self.layout.lefts[index]
        batch = (places,) if lr is None else (places, lr)
        if self.hr_map is None:
            return batch
        units = [self.hr_map(i)[1:] for i in index.tolist()]
        return *batch, *np.array(units, np.float32).T.reshape(2, -1, 1, 1, 1)

    def call(self, places, *others):
        size, scale = self.config.hr_patch_size, self.store.scale
        if self.lr is None:
            lr, *units = others
        else:
            lr, units = cut_patches(self.lr.value, places, size // scale, 1), others
        hr = cut_patches(self.hr.value, places, size, scale)
        if self.map is None:
            return lr, hr
        return lr, hr, cut_patches(self.map.value, places, size, scale), *units


def resident_set(
    store: ImageStore, config: DataConfig, hr_map: HRMap | None = None
) -> ResidentSet | None:
    """Returns the training set on the device, or None if it stays on the host; logs which.

    Args:
        store, hr_map: as for ResidentSet.
        config: data section of the config; its key "resident" decides.
    """
    if _alive:
        gc.collect()  # the set of the previous step
    layout = plan_layout([store.lr_size(index) for index in range(len(store))])
    value = store.pixels.dtype.itemsize
    lr_bytes, hr_bytes = 0 if config.degradations else value, value + (hr_map is not None)
    values = store.pixels.channels * layout.height * layout.width
    size = values * (lr_bytes + hr_bytes * store.scale**2)
    free = free_gpu_memory() or 0
    if config.resident is True or (config.resident == "auto" and size <= _SHARE * free):
        host = "; LR patches are degraded on the host" if config.degradations else ""
        log.info("training images on the device: %.2f GB%s", size / 1e9, host)
        return ResidentSet(store, config, hr_map)
    if free:
        reason = f"{size / 1e9:.2f} GB is more than a quarter of the free {free / 1e9:.2f} GB"
        log.info("training images on the host: %s", reason if config.resident else "as configured")
    return None
