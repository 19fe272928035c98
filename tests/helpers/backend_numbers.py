"""Numbers of forward passes, losses and a UDL step, under the Keras backend of this process.

Run as a program, it writes them to a file, and then runs `udl-tf` commands:

python -m helpers.backend_numbers FILE COMMANDS     (a JSON list of lists of arguments)
"""

import json
import sys

import keras
import numpy as np

from helpers.models import CONTRACT, build_small
from udl_tf.__main__ import main
from udl_tf.config import WeightingConfig
from udl_tf.losses import LOSSES
from udl_tf.models import copy_weights
from udl_tf.tasks.pixel_weights import make_pixel_weight
from udl_tf.training.trainer import Trainer


def numbers():
    """Returns arrays by name."""
    random = np.random.default_rng(0)
    lr = random.uniform(0, 255, (2, 9, 12, 3)).astype("float32")
    hr = random.uniform(0, 255, (2, 18, 24, 3)).astype("float32")
    found = {}
    for name in CONTRACT:
        network = build_small(name, 2)
        network.set_weights(
            [random.uniform(-0.1, 0.1, w.shape).astype("float32") for w in network.get_weights()]
        )
        outputs = network(lr)
        for key, value in outputs.items():
            found[f"{name} {key}"] = keras.ops.convert_to_numpy(value)
        for loss_name, loss in LOSSES.items():
            value = loss()(hr, outputs, sample_weight=np.ones_like(hr))
            found[f"{name} {loss_name}"] = keras.ops.convert_to_numpy(value)
        student = build_small(name, 2, uncertainty=False)
        copy_weights(network, student)
        trainer = Trainer(
            student, LOSSES["udl"](), make_pixel_weight(WeightingConfig(), network, 2)
        )
        trainer.compile(optimizer=keras.optimizers.SGD(1e-6))
        history = trainer.fit(lr, hr, batch_size=2, epochs=2, shuffle=False, verbose=0)
        found[f"{name} step losses"] = np.array(history.history["loss"])
        for index, value in enumerate(student.get_weights()):
            found[f"{name} weight {index}"] = value
    return found


if __name__ == "__main__":
    _, path, commands = sys.argv
    np.savez(path, backend=keras.backend.backend(), **numbers())
    for command in json.loads(commands):
        main(command)
