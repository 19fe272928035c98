"""Mutated PyTorch checkpoints are imported, or a UserError."""

import io
import shutil
import zipfile

import numpy as np
import pytest
from fuzz.mutations import BYTES, mutated, mutated_json
from helpers.safetensors_files import entry, write_safetensors
from hypothesis import strategies as st

from udl_tf.saved.torch_checkpoint import import_torch

SHAPES = {  # of EDSR x2 with 1 block of 2 filters, without an s head
    **{"head.0": (2, 3), "body.0.body.0": (2, 2), "body.0.body.2": (2, 2), "body.1": (2, 2)},
    **{"tail.0.0": (8, 2), "tail.1": (3, 2)},
}


def import_checkpoint(folder, case):
    suffix, content = case
    path, output = folder / f"a{suffix}", folder / "run"
    path.write_bytes(content)
    try:
        import_torch(path, output)
        assert (output / "model.json").is_file()
    finally:
        shutil.rmtree(output, ignore_errors=True)
        path.unlink()
        assert list(folder.iterdir()) == []


def weights():
    random, state = np.random.default_rng(0), {}
    for name, shape in SHAPES.items():
        state[f"{name}.weight"] = random.normal(size=(*shape, 3, 3)).astype(np.float32)
        state[f"{name}.bias"] = random.normal(size=shape[0]).astype(np.float32)
    return state


def safetensors(path):
    entries, data = {}, b""
    for name, values in weights().items():
        start, data = len(data), data + values.tobytes()
        entries[name] = entry("F32", [*values.shape], start, len(data))
    return write_safetensors(path, entries, data).read_bytes()


@st.composite
def changed_headers(draw, content):
    """Yields a .safetensors file with a mutated header, of the length that it declares."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = draw(mutated_json(content[8:start]))
    return ".safetensors", len(header).to_bytes(8, "little") + header + content[start:]


@st.composite
def changed_archives(draw, content):
    """Yields a .pt file with a mutated member, whose checksum is repaired."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w") as new:
        names = old.namelist()
        changed = draw(st.sampled_from([*[n for n in names if n.endswith(".pkl")], *names]))
        for name in names:
            data = old.read(name)
            data = draw(st.sampled_from(BYTES))(draw, data) if name == changed else data
            new.writestr(name, data)
    return ".pt", file.getvalue()


def test_checkpoints(fuzz, tmp_path_factory):
    torch = pytest.importorskip("torch")
    seeds = [(".safetensors", safetensors(tmp_path_factory.mktemp("seeds") / "a.safetensors"))]
    state = {name: torch.tensor(values) for name, values in weights().items()}
    for zipped in (True, False):
        file = io.BytesIO()
        torch.save(state, file, _use_new_zipfile_serialization=zipped)
        seeds.append((".pt", file.getvalue()))
    cases = [st.tuples(st.just(suffix), mutated(content)) for suffix, content in seeds]
    cases += [changed_headers(seeds[0][1]), changed_archives(seeds[1][1])]
    fuzz(import_checkpoint, seeds, st.one_of(cases))
