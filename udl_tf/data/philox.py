"""Random draws of many rows at once, from NumPy's generator Philox.

Philox is counter-based: equal (key, row) give equal draws in every process. NumPy draws one row at
a time, which takes twenty times as long.

Source: Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3 (Philox4x64-10).
"""

import numpy as np

_MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
_WEYL = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B  # added to the key after each round
_ROUNDS = 10
_LOW = np.uint64(2**32 - 1)
_HALF = np.uint64(32)


class RowDraws:
    """The draws of numpy.random.Generator(Philox(key, counter=[0, 0, 0, row])) for many rows.

    Args:
        keys: (n, 2), two integers in 0..2**63 - 1 for each row.
        rows: (n,), numbers of the rows.
    """

    def __init__(self, keys: np.ndarray, rows: np.ndarray):
        # Two blocks of four words per row: the draws of a patch need five words, and about one
        # word in a million is rejected.
        words = philox(np.tile(keys, (2, 1)), np.repeat([1, 2], len(rows)), np.tile(rows, 2))
        self._words = np.concatenate(np.split(words, 2), axis=1)
        self._halves = np.zeros(len(rows), int)  # 32-bit halves of words that have been used

    def integers(self, high: np.ndarray) -> np.ndarray:
        """Draws an integer in 0..high - 1 for each row, as `Generator.integers` does (Lemire)."""
        high = np.asarray(high, np.uint64)
        drawn = np.zeros(len(high), np.uint64)
        pending = np.flatnonzero(high > 1)  # with one choice only, NumPy draws nothing
        while len(pending):
            word = self._words[pending, self._halves[pending] // 2]
            value = np.where(self._halves[pending] % 2, word >> _HALF, word & _LOW)
            self._halves[pending] += 1
            choices = high[pending]
            product = value * choices
            drawn[pending] = product >> _HALF
            pending = pending[(product & _LOW) < (np.uint64(2**32) - choices) % choices]
        return drawn.astype(np.int64)

    def coins(self, count: int) -> np.ndarray:
        """Draws `Generator.random(count) < 0.5` for each row: bool (rows, count)."""
        first = (self._halves + 1) // 2
        self._halves = 2 * (first + count)
        words = np.take_along_axis(self._words, first[:, None] + np.arange(count), axis=1)
        return words < np.uint64(2**63)


def philox(keys: np.ndarray, blocks: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Returns the words of counters [block, 0, 0, row], uint64 (n, 4), for keys (n, 2)."""
    words = np.zeros((4, len(rows)), np.uint64)
    words[0], words[3] = blocks, rows
    keys, weyl = keys.astype(np.uint64).T, np.array(_WEYL, np.uint64)[:, None]
    for _ in range(_ROUNDS):
        high, low = _product(words[[0, 2]])
        first, second = high[::-1] ^ words[[1, 3]] ^ keys
        words = np.stack([first, low[1], second, low[0]])
        keys = keys + weyl
    return words.T


def _product(words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the upper and lower 64 bits of the products of two rows of words and _MULTIPLIERS."""
    factor = np.array(_MULTIPLIERS, np.uint64)[:, None]
    a, b, c, d = factor >> _HALF, factor & _LOW, words >> _HALF, words & _LOW
    middle = a * d + (b * d >> _HALF)
    upper = b * c + (middle & _LOW)
    return a * c + (middle >> _HALF) + (upper >> _HALF), factor * words
