import importlib.util

import pytest
from helpers.commands import JAX, run_process

needs_jax = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="needs jax (pip install .[jax])"
)


@needs_jax
@pytest.mark.slow
def test_a_run_on_two_jax_devices_equals_that_on_one(tmp_path):
    result = run_process(
        "helpers.two_jax_devices",
        tmp_path,
        **JAX | {"XLA_FLAGS": f"{JAX['XLA_FLAGS']} --xla_force_host_platform_device_count=2"},
    )
    assert result.returncode == 0, result.stderr
