import numpy as np
import pytest
from helpers.safetensors_files import entry, write_safetensors

from udl_tf.errors import UserError
from udl_tf.saved.state_dict import read_state_dict

WEIGHTS = np.array([[1.5, -2.0], [0.25, 3.0]], np.float32)


def assert_refused(path, part):
    with pytest.raises(UserError, match=part) as caught:
        read_state_dict(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_safetensors_hold_numbers_of_every_kind(tmp_path):
    data = WEIGHTS.tobytes() + np.float16(1.5).tobytes() + bytes([0xC0, 0x3F]) + b"\xf9"
    entries = {
        "__metadata__": {"format": "pt"},
        "module.a": entry("F32", [2, 2], 0, 16),
        "module.half": entry("F16", [], 16, 18),
        "module.brain": entry("BF16", [1], 18, 20),  # 1.5 is 3fc00000 in float32
        "module.int": entry("I8", [1], 20, 21),
    }
    state = read_state_dict(write_safetensors(tmp_path / "a.safetensors", entries, data))
    assert list(state) == ["a", "half", "brain", "int"]
    assert np.array_equal(state["a"], WEIGHTS)
    assert (state["half"], state["brain"][0], state["int"][0]) == (1.5, 1.5, -7)
    assert {values.dtype for values in state.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("entries", "part"),
    [
        ({}, "contains no tensors"),
        ([1], "expected a JSON object"),
        ({"a": entry("F32", [2, 2], 0, 20)}, r"a cannot be read \(bytes 0 to 20 of 16\)"),
        ({"a": entry("F32", [2, 2], -16, 16)}, r"a cannot be read \(bytes -16 to 16 of 16\)"),
        ({"a": entry("F32", [3], 0, 16)}, "a cannot be read"),
        ({"a": entry("F4", [4], 0, 16)}, r"a cannot be read \('F4'\)"),
        ({"a": {"dtype": "F32"}}, "a cannot be read"),
        ({"a": 3}, "a cannot be read"),
        ({"a": entry("F64", [2], 0, 16)}, "a contains NaN or infinite values"),
    ],
)
def test_safetensors_that_are_damaged_are_one_line(entries, part, tmp_path):
    data = np.array([np.nan, 1.0]).tobytes()
    assert_refused(write_safetensors(tmp_path / "a.safetensors", entries, data), part)


@pytest.mark.parametrize("content", [b"", b"\x09", (99).to_bytes(8, "little") + b'{"a"'])
def test_safetensors_without_a_whole_header_are_one_line(content, tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    assert_refused(path, "not valid JSON")


def test_a_path_without_a_file_is_one_line(tmp_path):
    assert_refused(tmp_path / "gone.pt", "no such file: expected torch")
    assert_refused(tmp_path, "is a folder: expected torch")


@pytest.mark.parametrize("key", ["params_ema", "params", "state_dict", "model"])
def test_a_state_dict_may_be_an_entry_of_a_checkpoint(key, tmp_path):
    torch = pytest.importorskip("torch")
    state = {"module._orig_mod.a": torch.tensor(WEIGHTS)}
    torch.save({"epoch": 3, "optimizer": {"params": None}, key: state}, tmp_path / "a.pt")
    assert np.array_equal(read_state_dict(tmp_path / "a.pt")["a"], WEIGHTS)


def test_the_moving_average_goes_first(tmp_path):
    torch = pytest.importorskip("torch")
    content = {"params": {"a": torch.zeros(2)}, "params_ema": {"a": torch.ones(2)}}
    torch.save({"state_dict": content}, tmp_path / "a.pt")
    assert read_state_dict(tmp_path / "a.pt")["a"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda torch, x: x.to_sparse(), "a is sparse_coo of float32: expected dense tensors"),
        (lambda torch, x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8), "a is quantized"),
        (lambda torch, x: x.to(torch.complex64), "a is strided of complex64: expected dense"),
        (lambda torch, x: x.to("meta"), "a is strided of float32 without data: expected dense"),
        (lambda torch, x: x / 0, "a contains NaN or infinite values"),
        (lambda torch, x: x.double() * 1e300, "a contains NaN or infinite values"),
        (lambda torch, x: [x], "a is a list: expected a dict of tensors"),
    ],
)
@pytest.mark.filterwarnings("ignore")  # torch deprecates quantized tensors
def test_tensors_that_hold_no_weights_are_one_line(change, part, tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"a": change(torch, torch.ones(2, 2))}, tmp_path / "a.pt")
    assert_refused(tmp_path / "a.pt", part)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_files_that_are_cut_are_one_line(share, zipped, tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "a.pt"
    torch.save({"a": torch.ones(99)}, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert_refused(path, "damaged, or not a state_dict: expected torch")


@pytest.mark.parametrize("content", [{}, [1], 3, {0: 1}])
def test_other_contents_are_one_line(content, tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(content, tmp_path / "a.pt")
    assert_refused(tmp_path / "a.pt", "a dict of tensors|contains no tensors")


def test_code_in_a_file_is_never_run(tmp_path):
    torch = pytest.importorskip("torch")

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "opened"), "w"))

    torch.save({"head.0.weight": Evil()}, tmp_path / "a.pt")
    assert_refused(tmp_path / "a.pt", "damaged, or not a state_dict: expected torch")
    assert not (tmp_path / "opened").exists()
