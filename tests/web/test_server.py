import socket

import pytest

from udl_tf.errors import UserError
from udl_tf.web import server
from udl_tf.web.server import listen


def test_without_a_port_the_first_free_one_is_taken(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        monkeypatch.setattr(server, "PORT", port)
        with listen("127.0.0.1", None) as door:
            assert port < door.getsockname()[1] < port + 100


def test_an_address_that_cannot_be_used():
    """192.0.2.1 is for documentation (RFC 5737): no machine has it."""
    with pytest.raises(UserError, match=r"192\.0\.2\.1, ports 7860 to 7959: cannot be used"):
        listen("192.0.2.1", None)


@pytest.mark.parametrize("port", [0, 70_000])
def test_numbers_that_are_no_port(port):
    with pytest.raises(UserError, match=f"port {port}: expected 1 to 65535"):
        listen("127.0.0.1", port)
