"""The page of udl-tf web with an upscaler without a network."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import numpy as np

from helpers.upscalers import Repeating
from udl_tf.uncertainty.record import Calibration

# Of nine in ten errors; intervals are therefore 4 theta wide.
FACTOR = 2.0


def calibration() -> Calibration:
    """A calibration that leaves theta as it is; 90 % intervals are +- FACTOR theta."""
    return Calibration(
        method="scale",
        a=[0.0] * 3,
        b=[1.0] * 3,
        levels=[0.5, 0.9],
        factors=[[0.5] * 3, [FACTOR] * 3],
        data="test",
        images=1,
    )


class Gated(Repeating):
    """Repeats pixels, calibrated; each band of four rows waits until `gate` is open."""

    def __init__(self, scale: int):
        super().__init__(scale)
        self.calibration = calibration()
        self.gate = threading.Event()
        self.gate.set()
        self.bands = 0

    def run(self, lr, tile=None, budget=None, notes=None, counter=None):
        for part in super().run(lr, tile, budget, notes):
            self.bands += 1
            yield part
            assert self.gate.wait(30)


@contextmanager
def studio_of(upscaler) -> Iterator:
    """Yields a Studio whose first model, "stub", is the given upscaler."""
    from udl_tf.web.studio import Studio

    with mock.patch("udl_tf.web.studio.load_upscaler", return_value=upscaler):
        studio = Studio("stub")
    try:
        yield studio
    finally:
        studio.close()


@contextmanager
def serving(studio):
    """Serves the page of a studio in a thread; yields its address."""
    from udl_tf.web import listen, prepare

    with listen("127.0.0.1", None) as door, prepare(studio) as server:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.02)
        yield f"http://127.0.0.1:{door.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def theta_of(values: np.ndarray) -> np.ndarray:
    """Theta that Repeating predicts for pixels of these values."""
    return np.exp(values / 100)
