"""Progress lines, with a clock that the test sets."""

import itertools
import logging
import re
import time
from types import SimpleNamespace

import pytest

from udl_tf.data.pipeline import Waiting
from udl_tf.training import progress_log
from udl_tf.training.callbacks import Clock
from udl_tf.training.progress_log import ProgressLog


class Model:
    """Stands in for a trainer."""

    optimizer = SimpleNamespace(learning_rate=1e-3)

    def reset_metrics(self):
        pass


def lines_of(monkeypatch, caplog, seconds, every, terminal=False):
    """Trains 40 updates that take `seconds` each; the first, which is traced, takes 30 s more.

    Returns:
        (s after the first update, text) of each log line.
    """
    now = 0.0
    fake = SimpleNamespace(monotonic=lambda: now, gmtime=time.gmtime)
    monkeypatch.setattr(progress_log, "time", fake)
    monkeypatch.setattr(progress_log.sys.stderr, "isatty", lambda: terminal, raising=False)
    monkeypatch.setattr(ProgressLog, "_write_scalars", lambda self, loss: None)
    monkeypatch.setattr(logging.getLogger("udl_tf"), "propagate", True)
    clock = Clock(0, total=40)
    observer = ProgressLog(clock, "step 1/1 l1", 2, every, Waiting(), board=None)
    observer.set_model(Model())
    lines = []
    with caplog.at_level(logging.INFO, "udl_tf"):
        observer.on_train_begin()
        for batch in range(40):
            now += seconds + 30 * (batch == 0)
            clock.on_train_batch_end(batch, {"loss": 1.0})
            observer.on_train_batch_end(batch, {"loss": 1.0})
            lines += [(now - 30 - seconds, record.message) for record in caplog.records]
            caplog.clear()
    return lines


@pytest.mark.parametrize("seconds", [0.5, 4.0, 12.0, 50.0, 200.0])
def test_without_a_terminal_a_line_is_never_later_than_a_minute(monkeypatch, caplog, seconds):
    lines = lines_of(monkeypatch, caplog, seconds, every=40)
    times = [at for at, _ in lines]
    assert times[0] <= 10
    assert max(b - a for a, b in itertools.pairwise(times)) <= max(60, seconds)
    assert times[-1] == 39 * seconds
    last = lines[-1][1]
    assert f" {2 / seconds:.1f} patches/s" in last  # without the 30 s of the first update
    assert re.search(r"█{20} 40/40", last)


def test_regular_lines_that_come_in_time_suffice(monkeypatch, caplog):
    lines = lines_of(monkeypatch, caplog, seconds=1.0, every=5)
    assert [at for at, _ in lines] == [0, *range(4, 40, 5)]  # first: tracing took 30 s
    assert "left" not in lines[0][1]  # the speed is not known yet


def test_on_a_terminal_only_regular_lines_are_logged(monkeypatch, caplog):
    lines = lines_of(monkeypatch, caplog, seconds=100.0, every=20, terminal=True)
    assert [at for at, _ in lines] == [1900, 3900]
    assert "0:33:20 left" in lines[0][1]  # 20 updates of 100 s
