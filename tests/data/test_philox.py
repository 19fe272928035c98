import numpy as np
import pytest

from udl_tf.data.philox import RowDraws, philox


def generator(key, row):
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, row]))


def row_draws(key, rows):
    return RowDraws(np.tile(key, (len(rows), 1)), np.array(rows))


@pytest.mark.parametrize("key", [(0, 0), (7, 123_456), (2**31 - 1, 2**40 + 11)])
def test_words_are_those_of_numpy(key):
    words = philox(np.tile(key, (5, 1)), np.ones(5), np.arange(5))
    for row in range(5):
        bits = np.random.Philox(key=key, counter=[0, 0, 0, row])
        assert words[row].tolist() == bits.random_raw(4).tolist()


@pytest.mark.parametrize("highs", [(800, 313, 463), (1, 313, 1), (5, 1, 463), (1, 1, 1)])
def test_draws_are_those_of_numpy(highs):
    """High 1 draws nothing, so that the coins follow at other words."""
    for update in range(20):
        draws = row_draws((3, update), range(10, 74))
        found = [draws.integers(np.full(64, high)) for high in highs]
        coins = draws.coins(3)
        for i, row in enumerate(range(10, 74)):
            random = generator([3, update], row)
            assert [values[i] for values in found] == [random.integers(high) for high in highs]
            assert coins[i].tolist() == (random.random(3) < 0.5).tolist()


def test_rejected_values_are_drawn_again():
    """Of 3 * 2**30 choices, a quarter of the values are rejected."""
    high, rows = 3 * 2**30, range(500)
    drawn = row_draws((1, 2), rows).integers(np.full(500, high))
    assert drawn.tolist() == [generator([1, 2], row).integers(high) for row in rows]


def test_rows_may_have_different_choices():
    highs = np.array([1, 10, 1, 2**31])
    drawn = row_draws((1, 2), range(4)).integers(highs)
    assert drawn.tolist() == [generator([1, 2], i).integers(h) for i, h in enumerate(highs)]
