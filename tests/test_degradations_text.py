"""The short form of degradations, as reports print and --degrade takes it."""

import pytest

from udl_tf._support.config_file import load_config
from udl_tf.config import Blur, Jpeg, Noise, degradations_text, parse_degradations
from udl_tf.errors import UserError


def test_degradations_have_a_short_form():
    operations = load_config("presets/photo_x4").data.degradations
    expected = "blur:0.2..0.8 on 20 % + noise:0..4 on 30 % + jpeg:30..95 on 85 %"
    assert degradations_text(operations) == expected
    parsed = parse_degradations("blur:1.2+noise:5+jpeg:75")
    assert parsed == (
        Blur(kind="blur", sigma=(1.2, 1.2)),
        Noise(kind="noise", sigma=(5.0, 5.0)),
        Jpeg(kind="jpeg", quality=(75, 75)),
    )
    assert degradations_text(parsed) == "blur:1.2 + noise:5 + jpeg:75"
    assert parse_degradations(degradations_text(parsed)) == parsed
    assert degradations_text(parse_degradations(expected)) == expected
    assert parse_degradations("jpeg:30..95 on 85%")[0].probability == 0.85


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("jpg:75", "degradation 'jpg' is unknown, nearest known: jpeg: expected"),
        ("noise:5+jpeg", "degradation 'jpeg' has strength '', not a number: expected"),
        ("jpeg:30..high", "degradation 'jpeg' has strength 'high', not a number: expected"),
        ("noise:4..0", "degradation noise:4..0: expected [lowest, highest]: expected"),
        ("noise:1..2..3", "degradation noise:1..2..3: tuple should have at most 2 items"),
        ("jpeg:75 on ", "degradation 'jpeg' has share '', not a number: expected"),
        ("jpeg:75 on half", "degradation 'jpeg' has share 'half', not a number: expected"),
        ("jpeg:75 on 120 %", "degradation jpeg:75 on 120 %: input should be less than or equal"),
        ("jpeg:0", "degradation jpeg:0: input should be greater than or equal to 1: expected"),
        ("webp:7.5", "degradation webp:7.5: input should be a valid integer: expected"),
        ("blur:nan", "degradation blur:nan: input should be a finite number: expected"),
        ("", "degradation '' is unknown, known: blur, jpeg, noise, poisson, webp: expected"),
    ],
)
def test_a_bad_short_form_is_one_line(text, part):
    with pytest.raises(UserError) as caught:
        parse_degradations(text)
    assert str(caught.value).startswith(part)
    assert str(caught.value).endswith("such as blur:1.2+noise:5+jpeg:75")
    assert "\n" not in str(caught.value)
