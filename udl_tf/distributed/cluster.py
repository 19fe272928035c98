"""Workers of a run on several machines: reads them from TF_CONFIG, waits for all of them."""

import json
import os
import re
import select
import socket
import time
from dataclasses import dataclass
from typing import Any

from udl_tf.errors import Lost, UserError

PORT = 23456
_GO = b"go"
_TIMEOUT = 5.0  # s for a connection and its first message; both are immediate if a machine is up
_EXPECTED = (
    'expected {"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", "index": N}}'
)
_HELP = "see python -m udl_tf.distributed --help"


@dataclass(frozen=True)
class Cluster:
    """The workers of a run.

    Attributes:
        addresses: HOST:PORT of each worker; the first is the chief, which has the run folder.
        index: index of this worker.
    """

    addresses: tuple[str, ...]
    index: int

    @property
    def is_chief(self) -> bool:
        """Whether this worker is the chief."""
        return self.index == 0

    def tf_config(self) -> str:
        """Returns the value of TF_CONFIG for this worker."""
        cluster = {"worker": list(self.addresses)}
        return json.dumps({"cluster": cluster, "task": {"type": "worker", "index": self.index}})


def read_cluster() -> Cluster:
    """Reads the cluster from the environment variable TF_CONFIG; a task "chief" comes first.

    Raises:
        UserError: if TF_CONFIG is not set, is invalid, or does not name this worker.
    """
    text = os.environ.get("TF_CONFIG")
    if not text:
        raise UserError(
            'distribution.strategy "multi_worker" needs the environment variable TF_CONFIG;'
            f" {_EXPECTED}: {_HELP}"
        )
    try:
        content = json.loads(text)
        jobs = dict(content["cluster"])
        kind, index = str(content["task"]["type"]), content["task"]["index"]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"TF_CONFIG {text}: {_EXPECTED}: {_HELP}") from None
    unknown = sorted({*jobs, kind} - {"chief", "worker"})
    if unknown:
        raise UserError(
            f"TF_CONFIG: tasks of type {', '.join(map(repr, unknown))}; expected only 'worker' and"
            " optionally one 'chief': remove the others"
        )
    tasks = [(job, i, address) for job in ("chief", "worker") for i, address in _tasks(jobs, job)]
    names = [(job, i) for job, i, _ in tasks]
    if (kind, index) not in names:
        raise UserError(
            f"TF_CONFIG: the task is {kind} {index!r}, but the cluster has"
            f" {', '.join(f'{job} {i}' for job, i in names) or 'none'}: use one of these"
        )
    return Cluster(tuple(address for *_, address in tasks), names.index((kind, index)))


def _tasks(jobs: dict[str, Any], job: str) -> list[tuple[int, str]]:
    addresses = jobs.get(job, [])
    if not isinstance(addresses, list):
        raise UserError(f"TF_CONFIG: cluster.{job} is not a list of addresses; {_EXPECTED}")
    for address in addresses:
        if not isinstance(address, str) or not is_address(address):
            raise UserError(
                f"TF_CONFIG: cluster.{job} has {address!r}; expected HOST:PORT, with a port in"
                " 1..65535"
            )
    return list(enumerate(addresses))


def is_address(text: str) -> bool:
    """Returns whether a text is HOST:PORT or [IPv6]:PORT."""
    found = re.fullmatch(r"(\[[^\s/\]]+\]|[^\s/:]+):(\d{1,5})", text)
    return found is not None and 0 < int(found[2]) < 65536


def meet(cluster: Cluster, seconds: float) -> None:
    """Waits until every worker of the run has started.

    Every worker connects to the chief, which answers all of them once none is missing.

    Args:
        cluster: workers of the run.
        seconds: how long to wait.

    Raises:
        Lost: naming the workers that did not start in time.
        UserError: if this worker cannot listen at its address.
    """
    deadline = time.monotonic() + seconds
    if cluster.is_chief:
        _await_workers(cluster, deadline)
    else:
        _report_to_chief(cluster, deadline)


def _await_workers(cluster: Cluster, deadline: float) -> None:
    """Accepts the connections of the other workers; answers all when none is missing."""
    connected: dict[int, socket.socket] = {}
    try:
        with _listen(cluster.addresses[0]) as server:
            while missing := [i for i in range(1, len(cluster.addresses)) if i not in connected]:
                server.settimeout(max(deadline - time.monotonic(), 0.001))
                try:
                    worker, _ = server.accept()
                except TimeoutError:
                    names = ", ".join(f"{i} ({cluster.addresses[i]})" for i in missing)
                    raise Lost(
                        f"timed out waiting for workers {names}: check that every worker was"
                        " started"
                    ) from None
                worker.settimeout(_TIMEOUT)
                index = _read_index(worker, cluster)
                if index is None:
                    worker.close()
                else:
                    if index in connected:  # this worker was started again
                        connected[index].close()
                    connected[index] = worker
                # A waiting worker sends nothing more, so a readable connection has been closed.
                closed, _, _ = select.select(connected.values(), [], [], 0)
                for stopped in [i for i, worker in connected.items() if worker in closed]:
                    connected.pop(stopped).close()
        for worker in connected.values():
            worker.sendall(_GO)
    except ConnectionError:
        raise Lost("a worker stopped while the others were starting: start all workers") from None
    finally:
        for worker in connected.values():
            worker.close()


def _listen(address: str) -> socket.socket:
    """Returns a server socket at the port of this worker's address.

    Raises:
        UserError: if the port is taken or not permitted.
    """
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        port = int(address.rpartition(":")[2])
        return socket.create_server(("", port), family=family, dualstack_ipv6=both)
    except OSError as error:
        raise UserError(
            f"TF_CONFIG: cannot listen at {address} ({error.strerror}): choose another port, or"
            " stop the process that uses it, such as a worker of an earlier run"
        ) from None


def _read_index(worker: socket.socket, cluster: Cluster) -> int | None:
    """Returns the index that a worker sends; None if it does not belong to this run."""
    try:
        index, count = (int(word) for word in worker.recv(64).split())
    except (OSError, ValueError):
        return None
    return index if count == len(cluster.addresses) and 0 < index < count else None


def _report_to_chief(cluster: Cluster, deadline: float) -> None:
    """Sends this worker's index to the chief, and waits until all workers have reported."""
    _listen(cluster.addresses[cluster.index]).close()  # fail early if the port is in use
    host, _, port = cluster.addresses[0].rpartition(":")
    reason = ""
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=_TIMEOUT) as chief:
                chief.sendall(f"{cluster.index} {len(cluster.addresses)}".encode())
                chief.settimeout(left)
                if chief.recv(len(_GO)) == _GO:
                    return
        except UnicodeError as error:
            raise UserError(
                f"TF_CONFIG: {cluster.addresses[0]}: not a valid host name ({error}); expected"
                " HOST:PORT"
            ) from None
        except OSError as error:  # the chief has not started yet
            reason = f" ({error.strerror or error})"
        time.sleep(min(0.2, left))
    raise Lost(
        f"timed out waiting for the chief ({cluster.addresses[0]}) or another worker{reason}:"
        " check that every worker was started"
    )
