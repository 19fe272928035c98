"""Networks of the steps of a run."""

from functools import partial

import keras

from udl_tf.config import Config, LogScaleHead
from udl_tf.models import check_contract, resolved_options
from udl_tf.models.heads import check_head
from udl_tf.models.weight_files import load_weights
from udl_tf.saved.bundle import build_network
from udl_tf.training.run_folder import RunFolder


def head_of(config: Config, index: int, loss: keras.losses.Loss) -> LogScaleHead | None:
    """Returns the kind of the s head that a step trains with this loss; None: it trains none."""
    if not loss.needs_log_scale:
        return None
    step = config.steps[index]
    # A quantized step may train the head that a step before has added.
    if step.train == "uncertainty_head" or step.quantize:
        return config.model.log_scale_head
    return "released"


def build_step_network(config: Config, index: int, loss: keras.losses.Loss) -> keras.Model:
    """Builds the network of a step, with fresh weights."""
    quantize = config.steps[index].quantize
    model = config.model.without_branches() if quantize else config.model
    return build_network(model, head_of(config, index, loss))


def check_networks(config: Config, losses: list) -> None:
    """Checks that the networks of all steps can be built and fulfil the contract of networks.

    Raises:
        UserError: for an unknown option, or naming what a network lacks.
    """
    heads: list[LogScaleHead | None] = [
        head_of(config, index, loss) for index, loss in enumerate(losses)
    ]
    for head in dict.fromkeys(heads):
        build = partial(build_network, config.model, head)
        model = config.model
        check_contract(model.name, model.scale, head is not None, build, model.channels)
    options = resolved_options(config.model.name, config.model.options)
    for head, loss in zip(heads, losses, strict=True):
        check_head(loss, {**options, "log_scale_head": head})


def read_step_network(run: RunFolder, index: int, loss: keras.losses.Loss) -> keras.Model:
    """Reads the network of a finished step as it was trained, with its branches if it has any."""
    network = build_step_network(run.config, index, loss)
    load_weights(network, run.weights(index))
    return network
