"""Passes of a served model: chains of stages in tiles, inside a TensorFlow graph."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import tensorflow as tf

from udl_tf.export.graph import mirror
from udl_tf.export.graph_tiling import run_tiled
from udl_tf.inference.chain_runner import ChainRunner
from udl_tf.inference.self_ensemble import MEMBERS
from udl_tf.inference.upscaler import BORDER
from udl_tf.models.stages import Stage, chain_align, chain_radius


@dataclass(frozen=True)
class ServedChain:
    """A chain of stages and its tiles, planned as in udl_tf.inference.chain_runner.

    Attributes:
        stages: the chain.
        capacity: most LR pixels of a window of the whole chain.
        capacities: most LR pixels of a window of each stage.
    """

    stages: Sequence[Stage]
    capacity: float
    capacities: Sequence[float]

    @classmethod
    def plan(
        cls, stages: Sequence[Stage], max_pixels: int, memory_gb: float | None
    ) -> "ServedChain":
        """Plans the tiles for the largest image."""
        runner = ChainRunner(stages)
        budget = 1e9 * memory_gb if memory_gb else runner.sensible_budget
        side, capacities = runner.plan(max_pixels, budget)
        return cls(runner.stages, float((side + 2 * runner.radius) ** 2), capacities)

    def run(self, lr, finish: Sequence[Callable[[Any], Any]], dtypes: Sequence[tf.DType]):
        """Returns the maps of float32 (n, h, w, c), each after its function in `finish`.

        Each tile is finished by itself, so that whole maps need memory in their final dtypes only.
        """
        radius, align = chain_radius(self.stages), chain_align(self.stages)
        compute, results = partial(self._compute, finish), [(lr.shape[-1], d) for d in dtypes]
        scale = self.stages[-1].scale
        return run_tiled(compute, [(lr, 1)], self.capacity, radius, align, scale, results)

    def _compute(self, finish: Sequence[Callable[[Any], Any]], window) -> list[Any]:
        """Runs the stages over a window, each in tiles of its own."""
        x, scale = window, 1
        for stage, capacity in zip(self.stages, self.capacities, strict=True):
            maps = [(x, scale)]
            if len(stage.network.inputs) == 2:
                maps.append((window, 1))
            compute = partial(_run_network, stage.network)
            kinds = [(output.shape[-1], tf.float32) for output in stage.network.outputs]
            results = run_tiled(
                compute, maps, capacity, stage.radius, stage.align, stage.scale, kinds
            )
            x, scale = results[0], stage.scale
        return [last(result) for last, result in zip(finish, results, strict=True)]


def _run_network(network: Any, *windows) -> list[Any]:
    result = network(windows[0] if len(windows) == 1 else list(windows), training=False)
    return result if isinstance(result, list) else [result]


@dataclass(frozen=True)
class Form:
    """Conversions of one map of a network.

    Attributes:
        gray_levels: map of the network -> grey levels, float32.
        final: grey levels -> the output of the endpoint.
        dtype: dtype of the output.
    """

    gray_levels: Callable[[Any], Any]
    final: Callable[[Any], Any]
    dtype: tf.DType

    def __call__(self, values):
        return self.final(self.gray_levels(values))


class ServedPass:
    """One pass of a network over images, traced once for all endpoints.

    Args:
        chain: stages that compute the maps of the network.
        forms: conversions of the maps, in their order, by the names of the outputs.
        self_ensemble: whether to average over the eight flips and rotations.

    Attributes:
        outputs: names of the outputs.
    """

    def __init__(self, chain: ServedChain, forms: Mapping[str, Form], self_ensemble: bool):
        self.outputs = list(forms)
        self._chain, self._forms, self._self_ensemble = chain, forms, self_ensemble
        channels = chain.stages[0].network.inputs[0].shape[-1]
        lr = tf.TensorSpec((None, None, None, channels), tf.float32, name="lr")
        self._run = tf.function(self._maps, input_signature=[lr], autograph=False)

    def __call__(self, lr) -> dict[str, Any]:
        """Returns the outputs for float32 (n, h, w, c)."""
        if not self._self_ensemble:
            return dict(zip(self._forms, self._run(lr), strict=True))
        scale = self._chain.stages[-1].scale
        means = _means_of_members(lr, self._run, len(self._forms), scale)
        named = zip(self._forms.items(), means, strict=True)
        return {name: form.final(mean) for (name, form), mean in named}

    def _maps(self, lr) -> list[Any]:
        """Returns the outputs; for a self-ensemble in grey levels, float32."""
        finish, dtypes = list(self._forms.values()), [f.dtype for f in self._forms.values()]
        if self._self_ensemble:
            finish, dtypes = [form.gray_levels for form in finish], [tf.float32] * len(finish)
        edge = BORDER * self._chain.stages[-1].scale
        maps = self._chain.run(mirror(lr, BORDER), finish, dtypes)
        return [m[:, edge:-edge, edge:-edge] for m in maps]


def _means_of_members(lr, run: Callable[[Any], list[Any]], count: int, scale: int) -> list[Any]:
    """Returns the means of `count` maps over the eight flips and rotations of the image."""

    channels = lr.shape[-1]

    def body(member, mean):
        turned = tf.image.rot90(lr, member % 4)
        turned = tf.cond(member >= 4, lambda: turned[:, :, ::-1], lambda: turned)
        turned.set_shape((None, None, None, channels))
        values = tf.concat(run(turned), axis=-1)
        values = tf.cond(member >= 4, lambda: values[:, :, ::-1], lambda: values)
        values = tf.image.rot90(values, 4 - member % 4)
        return member + 1, mean + values / MEMBERS

    shape = tf.shape(lr)
    zeros = tf.zeros((shape[0], shape[1] * scale, shape[2] * scale, channels * count))
    shapes = tf.TensorShape(()), tf.TensorShape((None, None, None, channels * count))
    _, means = tf.while_loop(
        lambda member, _: member < MEMBERS,
        body,
        (tf.constant(0), zeros),
        shapes,
        parallel_iterations=1,
    )
    return tf.split(means, count, axis=-1)
