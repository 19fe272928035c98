"""Reports versions, hardware and speed: what a bug report should contain.

udl-tf doctor
"""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import psutil

from udl_tf._support import command_line
from udl_tf._support.backend import check_backend
from udl_tf._support.stderr import quiet
from udl_tf._support.versions import versions

_EXTRAS = {
    "onnx": ("onnx", "onnxruntime", "tf2onnx"),
    "tflite": ("ai_edge_litert",),
    "geo": ("rasterio",),
    "serve": ("grpc", "tensorflow_serving"),
    "ray": ("ray", "pyarrow"),
}
_INSTRUCTION_SETS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


def main(arguments: list[str] | None = None) -> None:
    command_line.make_parser("udl-tf doctor", __doc__).parse_args(arguments)
    for name, value in report():
        print(f"{name:<12} {value}", flush=True)


def report() -> Iterator[tuple[str, str]]:
    """Yields the name and value of each fact as soon as it is known."""
    yield from versions().items()
    for extra, modules in _EXTRAS.items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        hint = f'not installed ({", ".join(missing)}): pip install "udl_tf[{extra}]"'
        yield f"extra {extra}", hint if missing else "installed"
    yield from _devices()
    yield from _speed()


def _devices() -> Iterator[tuple[str, str]]:
    check_backend("tensorflow", "jax")
    with quiet():
        import keras

        from udl_tf._support.hardware import gpu_names, processor, use_cores
        from udl_tf.config import DistributionConfig
        from udl_tf.distributed import join_group

        cores = use_cores()
        group = join_group(DistributionConfig())
        gpus = gpu_names()
    backend = keras.backend.backend()
    yield "backend", backend
    yield "processor", f"{processor()}, {cores} cores used, {_instruction_sets()}"
    yield "memory", f"{psutil.virtual_memory().total / 1e9:.1f} GB"
    yield "GPUs", ", ".join(gpus) or "none that the backend can use"
    yield "trains on", group.devices
    xla = backend == "jax" or (bool(gpus) and group.replicas == 1)
    yield "XLA", "on" if xla else "off (XLA is slower than oneDNN on CPUs)"


def _speed() -> Iterator[tuple[str, str]]:
    from udl_tf._support.hardware import measure_rates, updates_per_call

    with quiet():
        rates = measure_rates()
    yield "convolutions", f"{rates} (measured on training updates)"
    yield "precision", f"{rates.precision}, for training.precision = auto"
    yield "updates", f"{updates_per_call(None, 100)} per device call (steps_per_execution)"


def _instruction_sets() -> str:
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return "instruction sets unknown"
    return " ".join(name for name in _INSTRUCTION_SETS if name in flags) or "no AVX2"


if __name__ == "__main__":
    command_line.run(main)
