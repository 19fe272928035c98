"""Delivery of batches to `fit`, by tf.data and by threads."""

import itertools
import threading
import time

import numpy as np
import pytest

from udl_tf.config import DataConfig
from udl_tf.data import pipeline
from udl_tf.data.draws import draw_batch
from udl_tf.data.pipeline import AHEAD, ThreadDelivery, Waiting, make_delivery
from udl_tf.data.sources import folder_dataset
from udl_tf.data.store import ImageStore
from udl_tf.data.tf_pipeline import TFDataDelivery
from udl_tf.errors import UserError

CONFIG = DataConfig(hr_patch_size=16, batch_size=8)
BOTH = pytest.mark.parametrize("backend", ["tensorflow", "jax"])


@pytest.fixture
def store(image_folder):
    return ImageStore(folder_dataset(image_folder, 2).sources, 2, memory_gb=1)


def delivered(delivery, count, *shares):
    """Returns the first batches of a delivery, as NumPy arrays."""
    with delivery:
        batches = itertools.islice(delivery.batches(*shares), count)
        return [tuple(np.asarray(part) for part in batch) for batch in batches]


@BOTH
def test_batches_start_at_any_update_and_are_uint8(store, backend, monkeypatch):
    monkeypatch.setattr(pipeline.keras.backend, "backend", lambda: backend)
    delivery = make_delivery(store, CONFIG, seed=5, first_update=3)
    assert type(delivery) is {"tensorflow": TFDataDelivery, "jax": ThreadDelivery}[backend]
    batches = delivered(delivery, 7)
    assert len(batches) == 7
    for update, batch in enumerate(batches, start=3):
        for part, expected in zip(batch, draw_batch(store, CONFIG, 5, update), strict=True):
            assert part.dtype == np.uint8
            assert np.array_equal(part, expected)


@BOTH
def test_maps_are_delivered_with_their_line(store, backend, monkeypatch):
    monkeypatch.setattr(pipeline.keras.backend, "backend", lambda: backend)
    hr_map = lambda index: (store.pair(index)[1], 7.0, 0.5)  # noqa: E731
    ((_, hr, levels, a, b),) = delivered(make_delivery(store, CONFIG, 3, 0, hr_map), 1)
    assert np.array_equal(levels, hr)
    assert (levels.dtype, a.dtype, b.dtype) == (np.uint8, np.float32, np.float32)
    assert np.array_equal(a + b * levels, 7.0 + 0.5 * hr.astype(np.float32))


@BOTH
def test_the_shares_of_a_batch_are_disjoint_and_complete(store, backend, monkeypatch):
    """As for two workers of two replicas each."""
    monkeypatch.setattr(pipeline.keras.backend, "backend", lambda: backend)
    whole = draw_batch(store, CONFIG, 5, 3)[1]
    shares = [
        hr
        for first in (0, 2)
        for _, hr in delivered(make_delivery(store, CONFIG, 5, 3), 2, range(first, first + 2), 4)
    ]
    assert np.array_equal(np.concatenate(shares), whole)


def test_the_batches_of_a_call_are_stacked_by_share(store):
    delivery = make_delivery(store, CONFIG, seed=5, first_update=3, updates_per_call=2)
    stacks = [hr for _, hr in delivered(delivery, 4, range(1, 3), 4)]
    shares = slice(2, 4), slice(4, 6)
    expected = [
        [draw_batch(store, CONFIG, 5, first + place)[1][rows] for place in (0, 1)]
        for first in (3, 5)
        for rows in shares
    ]
    assert np.array_equal(stacks, expected)


@pytest.mark.parametrize("kind", [TFDataDelivery, ThreadDelivery])
def test_an_error_of_a_draw_arrives_unchanged(kind):
    def draw(update, rows):
        if update == 2:
            raise UserError("a.png: no such file")
        return (np.full((len(rows), 2), update, np.uint8),)

    got = []
    with (
        pytest.raises(UserError, match=r"^a\.png: no such file$"),
        kind(draw, 4, 0, Waiting()) as d,
    ):
        got += (int(np.asarray(batch[0])[0, 0]) for batch in d.batches())
    assert threads() == 0


def threads():
    return sum(thread.name.startswith("batches") for thread in threading.enumerate())


def test_threads_draw_ahead_and_end_with_the_context():
    drawn = []

    def draw(update, rows):
        drawn.append(update)
        return (np.zeros(1, np.uint8),)

    with ThreadDelivery(draw, 4, 10, Waiting()) as delivery:
        next(iter(delivery.batches()))
        assert threads() > 0
    assert threads() == 0
    assert sorted(drawn) == list(range(10, 10 + len(drawn)))
    assert 1 <= len(drawn) <= AHEAD


@pytest.mark.parametrize("kind", [TFDataDelivery, ThreadDelivery])
def test_waiting_time_is_measured(kind):
    """The first of four slow batches is drawn twice by tf.data, to learn its shape."""

    def draw(update, rows):
        time.sleep(0.1)
        return (np.zeros(1, np.uint8),)

    waiting = Waiting()
    delivered(kind(draw, 4, 0, waiting), 4)
    assert 0.05 <= waiting.seconds < 2  # two threads take 0.2 s, some of it before the first wait
    rested = Waiting()
    with kind(draw, 4, 0, rested) as delivery:
        batches = iter(delivery.batches())
        next(batches)
        time.sleep(0.5)  # meanwhile the next ones are drawn
        before = rested.seconds
        next(batches)
        assert rested.seconds - before < 0.05
