from dataclasses import replace

from helpers.models import transparent_model

from udl_tf._support import hardware
from udl_tf.evaluation import precision
from udl_tf.evaluation.precision import precision_note
from udl_tf.inference.keras_upscaler import KerasUpscaler
from udl_tf.inference.upscaler import Upscaler


class Exported(Upscaler):
    has_uncertainty = False

    def _passes(self, uncertainty, bordered=False):
        raise NotImplementedError


def test_the_note_gives_the_reason_and_the_cost(monkeypatch):
    model = transparent_model(4)
    measured = {"float32": 1e9, "mixed_bfloat16": 4e9}
    monkeypatch.setattr(hardware, "train_rate", measured.__getitem__)
    monkeypatch.setattr(precision, "load_upscaler", lambda name: model)
    rates = "4 GFLOP/s in bfloat16, 1 GFLOP/s in float32"
    note = precision_note("mine", model)
    assert note == f"precision: float32, which is as fast on this machine ({rates})"
    fast = KerasUpscaler(replace(model.networks, policy="mixed_bfloat16"))
    note = precision_note("mine", fast)  # of the same networks, so that the cost is zero
    assert note == f"precision: bfloat16, which costs 0.0000 dB on the bundled images ({rates})"
    measured["float32"] = 6e9
    slow = "bfloat16 is 1.5 times slower than float32 on this machine (4.0 and 6.0 GFLOP/s)"
    assert slow not in precision_note("mine", fast)  # not more than 1.5 times
    measured["float32"] = 6.1e9
    slow = "bfloat16 is 1.5 times slower than float32 on this machine (4.0 and 6.1 GFLOP/s)"
    expected = f"precision: {slow}: choose float32, or auto for the faster one"
    assert precision_note("mine", fast) == expected
    assert precision_note("mine.onnx", Exported()) == "precision: exported models keep their own"
