"""Prints TF_CONFIG for one host of a run; a launcher exports it to the environment.

python -m udl_tf.distributed --hosts HOST HOST ... --index N [--port P]
"""

from udl_tf._support import command_line
from udl_tf.distributed.cluster import PORT, Cluster, is_address
from udl_tf.errors import UserError


def main(arguments: list[str] | None = None) -> None:
    parser = command_line.make_parser("python -m udl_tf.distributed", __doc__)
    parser.add_argument(
        "--hosts", required=True, nargs="+", help="hosts of the run; the first has the run folder"
    )
    parser.add_argument("--index", required=True, type=int, help="index of this host, from 0")
    parser.add_argument(
        "--port", type=int, default=PORT, help=f"port on each host (default: {PORT})"
    )
    options = parser.parse_args(arguments)
    if not 0 <= options.index < len(options.hosts):
        raise UserError(f"--index {options.index}: expected 0..{len(options.hosts) - 1}")
    addresses = tuple(_address(host, options.port) for host in options.hosts)
    print(Cluster(addresses, options.index).tf_config())


def _address(host: str, port: int) -> str:
    """Returns HOST:PORT; adds the port unless the host has one.

    Raises:
        UserError: if either is invalid.
    """
    address = host if is_address(host) else f"{host}:{port}"
    if not is_address(address):
        raise UserError(
            f"--hosts {host}, --port {port}: expected HOST, [IPv6] or HOST:PORT, with a port in"
            " 1..65535"
        )
    return address


if __name__ == "__main__":
    command_line.run(main)
