import re

import pytest

from udl_tf._support.strict_json import parse_strictly

CONTENT = {"data": {"root": "ä", "memory_gb": 1.5}, "steps": [1, None, {"loss": "NaN"}]}
TEXT = '{"data": {"root": "ä", "memory_gb": 1.5}, "steps": [1, null, {"loss": "NaN"}]}'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_json_is_read_in_every_unicode_encoding(encoding):
    """utf-8-sig and utf-16 begin with a byte order mark."""
    assert parse_strictly(TEXT.encode(encoding)) == CONTENT
    assert parse_strictly("\ufeff" + TEXT) == CONTENT


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1, "a": 2}', "key a is given more than once: keep one"),
        ('{"a": {"b": [{}, {"c": 1, "c": 1}]}}', "key a.b.1.c is given more than once: keep one"),
        ('{"a": 1, "b": {"a": 2}}', None),  # in two objects
        ('{"a": "NaN",\n "b": [-Infinity]}', "-Infinity is not a JSON value: line 2 column 8"),
        ('{"a": NaN}', "NaN is not a JSON value: line 1 column 7"),
        ('{"a": 1e999}', "number 1e999 is too large"),
        ('{\n // x\n "a": 1}', "comments are not part of JSON: line 2 column 2"),
        ('{"a": 1 /* x */}', "comments are not part of JSON: line 1 column 9"),
        ("# x\n{}", "comments are not part of JSON: line 1 column 1"),
        ("{'a': 1}", "strings are enclosed in double quotes: line 1 column 2"),
        ('{"a": 1', "Expecting ',' delimiter: line 1 column 8"),
        (b'{"a":\n"\xe4"}', "not UTF-8: line 2 column 2 (char 7): save the file as UTF-8"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_not_strict_json_names_its_place(text, reason):
    if reason is None:
        parse_strictly(text)
        return
    with pytest.raises(ValueError, match=re.escape(reason)) as caught:
        parse_strictly(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ['{"a": 1,\n}', '{"a": [1,\n]}'])
def test_a_comma_after_the_last_entry_is_named(text):
    """Python 3.13 reports it itself, in line 1."""
    with pytest.raises(ValueError, match=r"(a comma follows the last|[Tt]railing comma).*: line"):
        parse_strictly(text)
