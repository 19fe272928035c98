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


@pytest.mark.parametrize(("host", "port"), [("192.0.2.1", None), ("127.0.0.1", 70_000)])
def test_addresses_that_cannot_be_used(host, port):
    """192.0.2.1 is for documentation (RFC 5737): no machine has it."""
    with pytest.raises(UserError, match="cannot be used"):
        listen(host, port)
