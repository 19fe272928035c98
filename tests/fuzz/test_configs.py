"""Mutated config files become a Config, or a UserError."""

from fuzz.mutations import mutated, mutated_json
from hypothesis import strategies as st

from udl_tf._support.config_file import CONFIGS, config_names, load_config
from udl_tf.config import Config


def load(folder, content):
    path = folder / "config.json"
    path.write_bytes(content)
    assert isinstance(load_config(path), Config)
    assert isinstance(load_config(path, quick=True), Config)


def test_configs(fuzz):
    seeds = [(CONFIGS / f"{name}.json").read_bytes() for name in config_names()]
    contents = st.sampled_from(seeds)
    fuzz(load, seeds, contents.flatmap(mutated) | contents.flatmap(mutated_json))
