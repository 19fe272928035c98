import threading
import time
from concurrent.futures import CancelledError

import pytest

from udl_tf.errors import UserError
from udl_tf.web.desk import MOST_TASKS, Desk, Task


@pytest.fixture
def desk():
    desk = Desk()
    yield desk
    desk.close()


def until_opened(gate):
    """Work that reports until the gate opens."""

    def work(progress):
        while not gate.wait(0.01):
            progress(1, 4, "waiting")
        return "done"

    return work


def test_tasks_run_one_at_a_time_in_order(desk):
    gate, order = threading.Event(), []
    first = desk.add(until_opened(gate))
    others = [desk.add(lambda _, name=name: order.append(name)) for name in "abc"]
    assert [desk.before(task) for task in (first, *others)] == [0, 1, 2, 3]
    others[1].stop()  # leaves the queue at once
    assert [desk.before(task) for task in (first, others[0], others[2])] == [0, 1, 2]
    gate.set()
    others[2].future.result(10)
    assert (first.future.result(), order) == ("done", ["a", "c"])
    assert desk.before(first) == 0


def test_a_task_that_runs_is_stopped_with_its_next_progress(desk):
    task = desk.add(until_opened(threading.Event()))
    while not task.label:
        time.sleep(0.01)
    assert (task.done, task.label) == (0.25, "waiting")
    task.stop()
    with pytest.raises(CancelledError):
        task.future.result(10)
    assert desk.add(lambda _: 1).future.result(10) == 1  # the next one runs


def test_an_error_belongs_to_its_task(desk):
    task = desk.add(lambda _: [][1])
    with pytest.raises(IndexError):
        task.future.result(10)
    assert desk.add(lambda _: 1).future.result(10) == 1


def test_a_full_queue_refuses_more(desk):
    gate = threading.Event()
    for _ in range(MOST_TASKS):
        desk.add(until_opened(gate))
    with pytest.raises(UserError, match=f"{MOST_TASKS} images are waiting already"):
        desk.add(until_opened(gate))
    gate.set()


def test_closing_stops_all_tasks(desk):
    tasks = [desk.add(until_opened(threading.Event())) for _ in range(3)]
    desk.close()
    assert all(task.future.done() for task in tasks)


def test_the_time_left_counts_from_the_first_progress(monkeypatch):
    """1 of 5 after 10 s of compilation, 3 of 5 four seconds later: four more seconds."""
    task, now = Task(), [0.0]
    monkeypatch.setattr("udl_tf.web.desk.time.monotonic", lambda: now[0])
    task.report(0, 5)
    assert task.seconds_left is None
    now[0] = 10.0
    task.report(1, 5)
    assert task.seconds_left is None
    now[0] = 14.0
    task.report(3, 5)
    assert task.seconds_left == pytest.approx(4.0)
