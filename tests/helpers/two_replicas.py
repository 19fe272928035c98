"""Run as a program: updates on one device and on two replicas give the same weights."""

import sys
from pathlib import Path

import keras
import numpy as np

from helpers.images import noise_image
from helpers.measurements import write_heights
from udl_tf.config import DataConfig, DistributionConfig, OptimizerConfig, WeightingConfig
from udl_tf.data.pipeline import make_delivery
from udl_tf.data.pixels import RGB, Pixels
from udl_tf.data.resident import ResidentSet
from udl_tf.data.sources import folder_dataset
from udl_tf.data.store import ImageStore
from udl_tf.distributed.strategy import make_strategy, share_batches
from udl_tf.imaging.rgb_files import write_rgb
from udl_tf.imaging.value_range import ValueRange
from udl_tf.losses import ESULoss, UDLLoss
from udl_tf.models import build_model, copy_weights
from udl_tf.tasks.pixel_weights import make_pixel_weight
from udl_tf.training.optimizers import make_optimizer
from udl_tf.training.trainer import Trainer


def train(store, config, optimizer, resident=False, updates_per_call=1):
    """Returns the weights after five ESU and five UDL updates, and the losses."""
    keras.utils.set_random_seed(0)
    options = {"num_blocks": 1, "num_filters": 8, "shift": 127.5, "divide": 127.5}
    channels = store.pixels.channels
    network = build_model("edsr_s", 2, channels, **options)
    student = build_model("edsr_s", 2, channels, uncertainty=False, **options)
    losses = []
    for model, loss, weighting in ((network, ESULoss(), None), (student, UDLLoss(), "uncertainty")):
        weight = None
        if weighting:
            copy_weights(network, student)
            weight = make_pixel_weight(WeightingConfig(source=weighting), network, 2)
        trainer = Trainer(model, loss, weight)
        trainer.compile(make_optimizer(optimizer, 5), steps_per_execution=updates_per_call)
        trainer.resident = ResidentSet(store, config) if resident else None
        source = store, config, 0, 0, None, None, trainer.resident, updates_per_call
        with make_delivery(*source) as delivery:
            batches = share_batches(delivery.batches)
            history = trainer.fit(batches, steps_per_epoch=5, shuffle=False, verbose=0)
        losses += history.history["loss"]
    return [np.array(w) for m in (network, student) for w in m.get_weights()], losses


def main(folder):
    for index in range(4):
        write_rgb(f"{folder}/rgb/{index}.png", noise_image(40, 40, index))
    write_heights(Path(folder, "heights"), 2)  # of which one has nodata
    config = DataConfig(hr_patch_size=16, batch_size=8)
    strategy = make_strategy(DistributionConfig(strategy="mirrored", devices=["CPU:0", "CPU:1"]))
    assert strategy is not None
    assert strategy.num_replicas_in_sync == 2
    heights = Pixels(1, ValueRange((900,), (1100,)))
    images, measurements = (
        ImageStore(folder_dataset(f"{folder}/{name}", 2, pixels).sources, 2, memory_gb=1)
        for name, pixels in (("rgb", RGB), ("heights", heights))
    )
    sgd = OptimizerConfig(name="sgd", learning_rate=1e-4, schedule="constant")
    muon = OptimizerConfig(name="muon", learning_rate=1e-3, schedule="constant", ema=0.9)
    for store, optimizer in ((images, muon), (measurements, sgd)):
        one, one_losses = train(store, config, optimizer)
        with strategy.scope():
            two, two_losses = train(store, config, optimizer, True, updates_per_call=5)
        print("losses", one_losses, two_losses)
        assert np.allclose(one_losses, two_losses, rtol=1e-5)
        for a, b in zip(one, two, strict=True):
            assert np.allclose(a, b, rtol=1e-4, atol=1e-6), np.abs(a - b).max()
    print("equal")


if __name__ == "__main__":
    main(sys.argv[1])
