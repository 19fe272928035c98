import pytest

from udl_tf.errors import UserError


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("a.png: no such file", "a.png: no such file"),
        ("a\nb.png: no such file", r"a\nb.png: no such file"),  # a name with a line break
        ("a\r\nb\u2028c", r"a\nb\nc"),
        ("", ""),
    ],
)
def test_a_user_error_is_one_line(message, line):
    assert str(UserError(message)) == line
