"""Weight files of models, in the format of Keras (.weights.h5)."""

import math
import warnings
from pathlib import Path

import h5py
import keras
import numpy as np

from udl_tf._support.files import complete_file, require_space
from udl_tf.errors import UserError, first_line

_HDF5_BYTES = 8192  # of a file besides the values, at most: for each weight, and for itself


def save_weights(network: keras.Model, path: Path, half: bool = False) -> None:
    """Writes the weights of a network (Keras' .weights.h5), complete or not at all.

    Args:
        network: any model.
        path: of the file.
        half: whether to store the weights in float16; load_weights converts them to float32.
    """
    size = sum(_HDF5_BYTES + 4 * math.prod(weight.shape) for weight in network.weights)
    with complete_file(path) as temporary:
        require_space(temporary, size + _HDF5_BYTES)  # HDF5 crashes the process on a full disk
        network.save_weights(temporary)
        if half:
            _in_float16(temporary)


def load_weights(network: keras.Model, path: Path) -> None:
    """Reads weights that save_weights wrote.

    Raises:
        UserError: if the file is missing or damaged, does not match the network, or contains
            weights that are not finite.
    """
    try:
        with warnings.catch_warnings():
            # Keras only warns about layers that are missing from the file.
            warnings.simplefilter("error", UserWarning)
            network.load_weights(path)
    except (OSError, RuntimeError):  # of h5py, about offsets and trees in the file
        raise UserError(f"{path}: damaged, or not a file of Keras weights: restore it") from None
    except (ValueError, KeyError, IndexError, UserWarning) as error:
        raise UserError(
            f"{path}: the weights do not match the network {network.name}: {first_line(error)}"
        ) from None
    for variable in network.variables:
        if not np.isfinite(keras.ops.convert_to_numpy(variable)).all():
            raise UserError(
                f"{path}: {variable.path} contains NaN or infinite values: restore the file, or use"
                " an earlier model"
            )


def _in_float16(path: Path) -> None:
    """Stores the float32 arrays of a weight file in float16."""
    half = path.with_name(f"{path.name}.half")
    with h5py.File(path) as old, h5py.File(half, "w") as new:

        def copy(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Group):
                copied = new.require_group(name)
            else:
                value = item[()]
                is_single = value.dtype == np.float32
                copied = new.create_dataset(
                    name, data=value.astype("float16") if is_single else value
                )
            for key, attribute in item.attrs.items():
                copied.attrs[key] = attribute

        for key, attribute in old.attrs.items():
            new.attrs[key] = attribute
        old.visititems(copy)
    half.replace(path)
