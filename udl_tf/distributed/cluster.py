"""The workers of a run on several machines, as the environment's TF_CONFIG names them."""

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
_PATIENCE = 5.0  # s for what takes no time among machines that answer
_EXPECTED = (
    'expected {"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", "index": N}}'
)
_MEND = "see python -m udl_tf.distributed --help"


@dataclass(frozen=True)
class Cluster:
    """The workers of a run.

    Attributes:
        addresses: HOST:PORT of each; the first is the chief.
        index: this one's place among them.
    """

    addresses: tuple[str, ...]
    index: int

    @property
    def is_chief(self) -> bool:
        """Whether this one writes the run folder."""
        return self.index == 0

    def tf_config(self) -> str:
        """TF_CONFIG's value on this worker."""
        cluster = {"worker": list(self.addresses)}
        return json.dumps({"cluster": cluster, "task": {"type": "worker", "index": self.index}})


def read_cluster() -> Cluster:
    """The cluster that TF_CONFIG names. A task "chief", where there is one, comes first.

    Raises:
        UserError: if there is no TF_CONFIG, or none that names this worker.
    """
    text = os.environ.get("TF_CONFIG")
    if not text:
        raise UserError(
            'distribution.strategy "multi_worker": the environment has no TF_CONFIG;'
            f" {_EXPECTED}: {_MEND}"
        )
    try:
        content = json.loads(text)
        jobs = dict(content["cluster"])
        kind, index = content["task"]["type"], content["task"]["index"]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"TF_CONFIG {text}: {_EXPECTED}: {_MEND}") from None
    unknown = sorted({*jobs, kind} - {"chief", "worker"})
    if unknown:
        raise UserError(
            f"TF_CONFIG: tasks of type {', '.join(map(repr, unknown))}; expected only 'worker' and"
            " perhaps one 'chief': leave the others out"
        )
    tasks = [(job, i, address) for job in ("chief", "worker") for i, address in _tasks(jobs, job)]
    names = [(job, i) for job, i, _ in tasks]
    if (kind, index) not in names:
        raise UserError(
            f"TF_CONFIG: its task is {kind} {index!r}, and its cluster has"
            f" {', '.join(f'{job} {i}' for job, i in names) or 'none'}: count from 0"
        )
    return Cluster(tuple(address for *_, address in tasks), names.index((kind, index)))


def _tasks(jobs: dict[str, Any], job: str) -> list[tuple[int, str]]:
    addresses = jobs.get(job, [])
    if not isinstance(addresses, list):
        raise UserError(f"TF_CONFIG: cluster.{job} is no list of addresses; {_EXPECTED}")
    for address in addresses:
        if not isinstance(address, str) or not re.fullmatch(r"[^\s/]+:\d{1,5}", address):
            raise UserError(f"TF_CONFIG: cluster.{job} names {address!r}; expected HOST:PORT")
    return list(enumerate(addresses))


def meet(cluster: Cluster, seconds: float) -> None:
    """Waits until every worker of the run is there.

    Raises:
        Lost: naming those that did not come in time.
        UserError: if the chief cannot listen at its address.
    """
    until = time.monotonic() + seconds
    if cluster.is_chief:
        _welcome(cluster, until)
    else:
        _report(cluster, until)


def _welcome(cluster: Cluster, until: float) -> None:
    """On the chief: lets the others go on once all have reported."""
    there: dict[int, socket.socket] = {}
    try:
        with _listen(cluster.addresses[0]) as server:
            while missing := [i for i in range(1, len(cluster.addresses)) if i not in there]:
                server.settimeout(max(until - time.monotonic(), 0.001))
                try:
                    worker, _ = server.accept()
                except TimeoutError:
                    names = ", ".join(f"{i} ({cluster.addresses[i]})" for i in missing)
                    raise Lost(f"workers that did not come: {names}: start them all") from None
                worker.settimeout(_PATIENCE)
                index = _read_index(worker, cluster)
                if index is None:
                    worker.close()
                else:
                    there[index] = worker
                gone, _, _ = select.select(there.values(), [], [], 0)  # they end a connection
                there = {i: worker for i, worker in there.items() if worker not in gone}
        for worker in there.values():
            worker.sendall(_GO)
    except (ConnectionError, BrokenPipeError):
        raise Lost("a worker came and went again: start them all") from None
    finally:
        for worker in there.values():
            worker.close()


def _listen(address: str) -> socket.socket:
    """A server at this worker's own address.

    Raises:
        UserError: if there cannot be one.
    """
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        port = int(address.rpartition(":")[2])
        return socket.create_server(("", port), family=family, dualstack_ipv6=both)
    except OSError as error:
        raise UserError(
            f"TF_CONFIG: cannot listen at {address} ({error.strerror}): is the port taken, by a"
            " worker of an earlier run perhaps?"
        ) from None


def _read_index(worker: socket.socket, cluster: Cluster) -> int | None:
    try:
        index, count = (int(word) for word in worker.recv(64).split())
    except (OSError, ValueError):  # none of ours
        return None
    return index if count == len(cluster.addresses) and 0 < index < count else None


def _report(cluster: Cluster, until: float) -> None:
    """On another worker: tells the chief its index, and waits until all have."""
    _listen(cluster.addresses[cluster.index]).close()  # a taken port is told before all begin
    host, _, port = cluster.addresses[0].rpartition(":")
    reason = ""
    while (left := until - time.monotonic()) > 0:
        try:
            with socket.create_connection((host, int(port)), timeout=_PATIENCE) as chief:
                chief.sendall(f"{cluster.index} {len(cluster.addresses)}".encode())
                chief.settimeout(left)
                if chief.recv(len(_GO)) == _GO:
                    return
        except OSError as error:  # not there yet
            reason = f" ({error.strerror or error})"
        time.sleep(min(0.2, left))
    raise Lost(
        f"the chief ({cluster.addresses[0]}) did not come, or another worker{reason}: start all"
    )
