import keras
import numpy as np
import pytest

from udl_tf.config import OptimizerConfig
from udl_tf.models import build_model
from udl_tf.training.optimizers import Muon, make_optimizer


@pytest.mark.parametrize("name", ["adam", "adamw", "muon", "sgd"])
def test_optimizers_and_schedules(name):
    halving = make_optimizer(OptimizerConfig(name=name, learning_rate=0.1, halve_every=0.5), 100)
    rates = [float(halving._learning_rate(step)) for step in (0, 49, 50, 99)]
    assert rates == pytest.approx([0.1, 0.1, 0.05, 0.05])
    cosine = make_optimizer(OptimizerConfig(name=name, schedule="cosine"), 100, learning_rate=0.2)
    rates = [float(cosine._learning_rate(step)) for step in (0, 50, 100)]
    assert rates == pytest.approx([0.2, 0.1, 0.0], abs=1e-6)
    options = OptimizerConfig(name=name, schedule="constant", clip_norm=0.5, ema=0.99)
    optimizer = make_optimizer(options, 100)
    assert optimizer.global_clipnorm == 0.5
    assert make_optimizer(options, 100, replicas=2).global_clipnorm == 0.25
    assert cosine.global_clipnorm is None
    assert optimizer.use_ema


@pytest.mark.parametrize("schedule", ["constant", "cosine", "halving"])
def test_the_rate_rises_before_its_schedule(schedule):
    """The schedule then runs over the other 96 updates; with halving, half of them are 48."""
    options = OptimizerConfig(schedule=schedule, learning_rate=0.1, warmup=4)
    optimizer = make_optimizer(options, 100)
    rate = optimizer._learning_rate
    rising = [float(rate(step)) for step in range(5)]
    assert rising == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])
    later = {"constant": [0.1, 0.1], "cosine": [0.05, 0.0], "halving": [0.05, 0.025]}[schedule]
    assert [float(rate(step)) for step in (52, 100)] == pytest.approx(later, abs=1e-6)
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert float(copy._learning_rate(52)) == pytest.approx(later[0])


def muon(**options):
    config = OptimizerConfig(name="muon", schedule="constant", learning_rate=0.01, **options)
    return make_optimizer(config, 100)


def test_muon_moves_a_kernel_equally_in_all_directions():
    random = np.random.default_rng(0)
    kernel = keras.Variable(np.zeros((3, 3, 8, 16), "float32"))
    # A gradient with singular values from 1 to 1000, of which Adam would follow the signs.
    left, _ = np.linalg.qr(random.normal(size=(72, 16)))
    right, _ = np.linalg.qr(random.normal(size=(16, 16)))
    gradient = (left * np.geomspace(1, 1000, 16)) @ right.T
    muon().apply([gradient.reshape(3, 3, 8, 16).astype("float32")], [kernel])
    moved = -kernel.numpy().reshape(72, 16)
    sizes = np.diag(left.T @ moved @ right) / (0.01 * 0.2 * 72**0.5)  # update 0.2 sqrt(72) UV^T
    assert np.all(sizes[4:] > 0.6)
    assert np.all(sizes < 1.3)
    assert np.linalg.norm(moved - left @ (left.T @ moved @ right) @ right.T) < 1e-4


def test_adam_updates_biases_and_image_kernels_in_muon():
    network = build_model("edsr_s", 2, num_blocks=1, num_filters=8)
    optimizer = muon()
    optimizer.build(network.trainable_variables)
    by_muon = {
        variable.path
        for variable, velocity in zip(
            network.trainable_variables, optimizer.adam_velocities, strict=True
        )
        if velocity is None
    }
    inner = {"block0_conv0", "block0_conv1", "body_end", "upsample0"}
    inner |= {"log_scale_conv0", "log_scale_conv1"}
    assert {path.split("/")[-2] for path in by_muon} == inner
    assert all(path.endswith("kernel") for path in by_muon)
    start = [v.numpy() for v in network.trainable_variables]
    optimizer.apply([keras.ops.ones_like(v) for v in network.trainable_variables])
    for variable, before in zip(network.trainable_variables, start, strict=True):
        if variable.path not in by_muon:
            assert np.allclose(variable.numpy() - before, -0.01, rtol=1e-2), variable.path


class KernelByKernel(keras.optimizers.Muon):
    """Keras' Muon, which updates each kernel alone, with kernels as matrices."""

    _should_use_adamw = Muon._should_use_adamw

    def zeropower_via_newtonschulz5(self, x, steps):
        matrix = keras.ops.reshape(x, (-1, x.shape[-1]))
        update = super().zeropower_via_newtonschulz5(matrix, steps)
        return keras.ops.reshape(update * max(matrix.shape) ** 0.5 * self.rms_rate, x.shape)

    def lr_adjust(self, x):
        return x


@pytest.mark.parametrize("accumulate", [None, 2])
def test_stacked_kernels_are_updated_as_each_alone(accumulate):
    random = np.random.default_rng(0)
    # Three kernels of one matrix shape, one that is wider than high, one of Adam's, and a bias.
    shapes = [(3, 3, 8, 16), (3, 3, 8, 16), (1, 1, 72, 16), (1, 1, 4, 32), (3, 3, 3, 16), (16,)]
    start = [random.normal(size=shape).astype("float32") for shape in shapes]
    options = muon(weight_decay=0.1, clip_norm=3.0, ema=0.9).get_config()
    options["gradient_accumulation_steps"] = accumulate
    states = []
    for kind in (Muon, KernelByKernel):
        optimizer = kind.from_config(options)
        variables = [keras.Variable(value, name=f"v{i}") for i, value in enumerate(start)]
        random = np.random.default_rng(1)
        for _ in range(4):
            gradients = [random.normal(size=shape).astype("float32") for shape in shapes]
            optimizer.apply(gradients, variables)
        states.append({v.path: v.numpy() for v in [*variables, *optimizer.variables]})
        assert not np.allclose(variables[1].numpy(), start[1], atol=1e-3)
    stacked, alone = states
    assert list(stacked) == list(alone)  # a checkpoint of Keras' Muon fits
    for path, expected in alone.items():
        difference = np.abs(stacked[path] - expected).max() / max(1.0, np.abs(expected).max())
        assert difference < 2e-7, path


def test_muon_decays_weights_as_the_config_says():
    kernel = keras.Variable(np.ones((3, 3, 8, 8), "float32"))
    for decay in (0.0, 0.5):
        kernel.assign(np.ones(kernel.shape))
        muon(weight_decay=decay).apply([np.zeros(kernel.shape, "float32")], [kernel])
        assert np.allclose(kernel.numpy(), 1 - 0.01 * decay)


def test_muon_is_saved_and_loaded():
    config = keras.optimizers.serialize(muon())
    assert isinstance(keras.optimizers.deserialize(config), Muon)
