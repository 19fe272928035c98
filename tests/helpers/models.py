"""Small and transparent networks, as models and as run folders."""

from pathlib import Path

import numpy as np

SMALL_NETWORKS = {  # small forms of the networks, for speed
    "edsr_s": {"num_blocks": 2, "num_filters": 8},
    "edsr": {"num_blocks": 1, "num_filters": 12},
    "dpdnn": {"num_stages": 2, "num_filters": 8},
    "span": {"num_blocks": 2, "num_filters": 8},
}
# What the contract tests build: the networks, and one with all options of the light configs.
LIGHT = {"upsampler": "direct", "anchor": True, "branches": True, "shift": 127.5, "divide": 127.5}
LIGHT_FUSED = {**LIGHT, "branches": False}  # as bundles have it
CONTRACT = {name: (name, options) for name, options in SMALL_NETWORKS.items()}
CONTRACT["light"] = "edsr_s", {**SMALL_NETWORKS["edsr_s"], **LIGHT}


def build_small(name: str, scale: int, **options):
    """Builds a network of CONTRACT; options replace those of its small form."""
    from udl_tf.models import build_model

    backbone, small = CONTRACT[name]
    return build_model(backbone, scale, **{**small, **options})


def shrink(layer, factor: float) -> None:
    """Divides the weights of a layer, the last of an untrained network.

    SPAN needs a factor of 50: it yields thousands of grey levels otherwise, in which differences
    of rounding are large.
    """
    layer.set_weights([value / factor for value in layer.get_weights()])


def transparent_model(scale: int):
    """Returns a KerasUpscaler whose EDSR repeats each pixel scale x scale times, with theta = 1.

    Any other difference between its input and its result is due to steps outside the network.
    """
    from udl_tf.inference.keras_upscaler import KerasUpscaler, Networks
    from udl_tf.models import build_model

    network = build_model("edsr_s", scale, num_blocks=1, num_filters=4)
    for layer in network.layers:
        layer.set_weights([np.zeros_like(value) for value in layer.get_weights()])
    for layer in network.layers:
        if layer.name in ("head", "tail", "upsample0", "upsample1"):
            kernel, bias = layer.get_weights()
            for channel in range(kernel.shape[3]):  # the same for all phases of a channel
                if (source := channel % (3 if layer.name == "tail" else 4)) < kernel.shape[2]:
                    kernel[1, 1, source, channel] = 1.0
            layer.set_weights([kernel, bias])
    return KerasUpscaler(Networks(scale, network, network))


def make_run(
    folder: Path,
    name: str,
    scale: int,
    calibrated: bool = True,
    light: bool = False,
    channels: int = 3,
    value_range: tuple[float, float] | None = None,
    **options,
) -> Path:
    """Writes a run folder of untrained networks; theta is a few grey levels.

    There are two different networks with a released head each, or one with a light head.
    """
    from udl_tf.config import ModelConfig
    from udl_tf.models import build_model
    from udl_tf.models.weight_files import save_weights
    from udl_tf.saved import bundle
    from udl_tf.uncertainty import LEVELS, Calibration, laplace_factor

    kind = "light" if light else "released"
    files = {}
    for part in ("mean", "uncertainty"):
        if light and files:
            files[part] = files["mean"]
            continue
        given = {**(options or SMALL_NETWORKS[name]), "log_scale_head": kind}
        network = build_model(name, scale, channels, **given)
        last = network.get_layer("log_scale").get_layer("last") if light else None
        last = last or network.get_layer("log_scale_conv2")
        shrink(last, 10)  # else, s of an untrained EDSR exceeds 10
        if name == "span":
            shrink(network.get_layer("tail"), 50)
        files[part] = f"weights/{part}.weights.h5"
        save_weights(network, folder / files[part])
    factors = laplace_factor(LEVELS)[:, None].repeat(channels, axis=1).tolist()
    a, b = (np.resize(line, channels).tolist() for line in ([0.1, 0.0, -0.1], [1.0, 0.9, 1.1]))
    calibration = Calibration(
        method="affine", a=a, b=b, levels=LEVELS.tolist(), factors=factors, data="nothing", images=0
    )
    manifest = bundle.Manifest(
        architecture=ModelConfig(
            name=name, scale=scale, channels=channels, options=options or SMALL_NETWORKS[name]
        ),
        mean=bundle.NetworkFile(weights=files["mean"], log_scale_head=kind),
        uncertainty=bundle.UncertaintyFile(
            weights=files["uncertainty"], log_scale_head=kind, unit=1.5, power=1.0
        ),
        calibration=calibration if calibrated else None,
        range=[0, 255] if value_range is None else list(value_range),
        training={},
    )
    bundle.write_manifest(folder, manifest)
    return folder


def plain_calibration(a=(0.0, 0.0, 0.0), b=(1.0, 1.0, 1.0)):
    """Returns the calibration theta' = exp(a + b ln theta) with the quantiles of Laplace errors."""
    from udl_tf import uncertainty as cal

    factors = cal.laplace_factor(cal.LEVELS)[:, None].repeat(len(a), axis=1)
    return cal.Calibration(
        method="affine",
        a=list(a),
        b=list(b),
        levels=cal.LEVELS.tolist(),
        factors=factors.tolist(),
        data="none",
        images=0,
    )


def laplace_samples(
    count: int, distort=lambda log_theta: log_theta, size: int = 4000, channels: int = 3
):
    """Returns images of Laplace errors with scale theta; the model predicts distort(ln theta)."""
    from udl_tf.uncertainty.fit import Sample

    random = np.random.default_rng(0)
    samples = []
    for index in range(count):
        log_theta = random.uniform(-0.5, 3, (size, channels))
        error = np.abs(random.laplace(scale=np.exp(log_theta)))
        samples.append(Sample(f"{index}", error, distort(log_theta), {}, key=index))
    return samples
