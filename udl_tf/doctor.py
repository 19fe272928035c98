"""Prints what this machine has, what is used of it, and what is missing.

udl-tf doctor
"""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import psutil

from udl_tf._support import command_line
from udl_tf._support.stderr import quiet
from udl_tf._support.versions import versions

_EXTRAS = {
    "onnx": ("onnx", "onnxruntime", "tf2onnx"),
    "tflite": ("ai_edge_litert",),
    "serve": ("grpc", "tensorflow_serving"),
    "ray": ("ray", "pyarrow"),
}
_INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


def lines() -> Iterator[str]:
    """Yields the lines of the report, each as soon as it is known."""
    for name, version in versions().items():
        yield f"{name:<12} {version}"
    for extra, modules in _EXTRAS.items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        hint = f'not installed ({", ".join(missing)}): pip install "udl_tf[{extra}]"'
        yield f"extra {extra:<7}{hint if missing else 'installed'}"
    with quiet():
        import keras
        import tensorflow as tf

        from udl_tf._support.hardware import (
            measure_rates,
            processor,
            updates_per_call,
            use_cores,
        )
        from udl_tf.config import DistributionConfig
        from udl_tf.distributed.strategy import device_names, make_strategy

        cores = use_cores()
        strategy = make_strategy(DistributionConfig())
        gpus = [
            tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
            for gpu in tf.config.list_physical_devices("GPU")
        ]
    yield f"{'backend':<12} {keras.backend.backend()}"
    yield f"{'processor':<12} {processor()}, {cores} cores used, {_instructions()}"
    yield f"{'memory':<12} {psutil.virtual_memory().total / 1e9:.1f} GB"
    yield f"{'GPUs':<12} {', '.join(gpus) or 'none that TensorFlow can use'}"
    yield f"{'trains on':<12} {device_names(strategy)}"
    with quiet():
        rates = measure_rates()
    yield f"{'convolutions':<12} {rates} (measured in a train step)"
    yield f"{'precision':<12} {rates.precision}, for training.precision = auto"
    compiled = gpus and keras.backend.backend() == "tensorflow" and strategy is None
    xla = compiled or keras.backend.backend() == "jax"
    yield f"{'XLA':<12} {'on' if xla else 'off: slower than oneDNN on processors'}"
    yield f"{'calls':<12} {updates_per_call(None, 10)} updates per call of the device"


def _instructions() -> str:
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return "instruction sets unknown"
    return " ".join(name for name in _INSTRUCTIONS if name in flags) or "no AVX2"


def main(arguments: list[str] | None = None) -> None:
    command_line.make_parser("udl-tf doctor", __doc__).parse_args(arguments)
    for line in lines():
        print(line, flush=True)


if __name__ == "__main__":
    command_line.run(main)
