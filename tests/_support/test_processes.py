import os
import signal
import sys
import threading

import pytest

from udl_tf._support.processes import run_to_its_end


def test_the_exit_code_and_environment_of_a_child():
    code = "import os, sys; sys.exit(int(os.environ['CODE']))"
    assert run_to_its_end([sys.executable, "-c", code], os.environ | {"CODE": "5"}) == (5, False)
    assert run_to_its_end(["sh", "-c", "kill -KILL $$"]) == (-signal.SIGKILL, False)


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def number(request):
    """A signal, whose handler here does nothing."""
    before = signal.signal(request.param, lambda number, frame: None)
    yield request.param
    signal.signal(request.param, before)


def interrupt_when_ready(fifo, number):
    def interrupt():
        fifo.read_text()  # returns when the child has opened and closed it
        os.kill(os.getpid(), number)

    os.mkfifo(fifo)
    threading.Thread(target=interrupt).start()


def test_a_signal_is_forwarded_as_sigterm(number, tmp_path):
    before = signal.getsignal(number)
    interrupt_when_ready(tmp_path / "ready", number)
    child = f"trap 'exit 7' TERM; : > {tmp_path}/ready; while :; do sleep 0.05; done"
    assert run_to_its_end(["sh", "-c", child]) == (7, True)
    assert signal.getsignal(number) == before


def test_an_ignored_signal_stays_ignored(number, tmp_path):
    signal.signal(number, signal.SIG_IGN)
    interrupt_when_ready(tmp_path / "ready", number)
    child = f": > {tmp_path}/ready; sleep 0.2; exit 3"
    assert run_to_its_end(["sh", "-c", child]) == (3, False)
