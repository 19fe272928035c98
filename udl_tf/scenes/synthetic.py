"""Synthetic measurements: satellite bands, microscope images and elevations, from a seed.

They have structures of about one to ten pixels, of which low-resolution images keep a part, so that
networks can learn from them; they do not replace real data.
"""

from collections.abc import Iterator

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial import cKDTree

_FINE = 2  # pixels are means of 2x2 computed ones, so that edges lie anywhere

# Reflectance in 1/10000 of blue, green, red and near infrared.
_COVERS = np.array(
    [
        (350, 620, 420, 3300),  # crop
        (520, 900, 760, 2500),  # grass
        (260, 430, 280, 2600),  # forest
        (900, 1250, 1600, 2300),  # bare soil
        (700, 1100, 1200, 2050),  # stubble
    ],
    float,
)
_FOREST = 2
_WATER, _ASPHALT = (420, 380, 260, 130), (900, 950, 1000, 1100)
_ROOFS = np.array([(1500, 1700, 2300, 2500), (2500, 2600, 2700, 2900), (1100, 1150, 1250, 1400)])
_LARGEST = 10000

_CREASES = ((48, 14), (24, 8), (12, 5), (6, 3))  # of terrain: half pixels, metres
_COARSE_SIGMA = 3  # of smooth noise, pixels of the coarse grid

_OFFSET, _GAIN = 100, 20  # of the camera: counts without light, and per photon
_LARGEST_COUNT = 65535


def satellite(seed: int, height: int, width: int) -> np.ndarray:
    """Returns farmland, forest, roads, villages and a river, as seen by a satellite.

    Returns:
        uint16 (height, width, 4): reflectance in 1/10000 of blue, green, red and near infrared,
        above 0.
    """
    random = np.random.default_rng([seed, 0])
    y, x = _grid(height, width)
    land = _fields(random, y, x)
    for _ in range(random.poisson(height * width / 12000) + 1):
        _draw_village(random, land, y, x)
    for _ in range(random.poisson(3) + 2):
        distance = _distance_to_line(random, y, x, bend=0.0)
        land[distance < random.uniform(0.6, 1.4)] = _ASPHALT
    river = _distance_to_line(random, y, x, bend=0.2)
    land[river < random.uniform(1.0, 6.0)] = _WATER
    values = _pixel_means(gaussian_filter(land, (_FINE / 2, _FINE / 2, 0)))
    light = 1 + 0.05 * _smooth_noise(random, height, width, 40)[..., None]
    values = values * light + random.normal(0, 8, values.shape)
    return np.clip(np.round(values), 1, _LARGEST).astype(np.uint16)


def microscopy(seed: int, height: int, width: int) -> np.ndarray:
    """Returns the expected photons per pixel of filaments and vesicles in a cell.

    Returns:
        float64 (height, width, 1), in about 2..400.
    """
    random = np.random.default_rng([seed, 1])
    cell = np.exp(_smooth_noise(random, height, width, 30) * 0.5)
    filaments, vesicles = np.zeros((height, width)), np.zeros((height, width))
    for _ in range(height * width // 1000 + 1):
        _draw_filament(random, filaments)
    for _ in range(height * width // 2500 + 1):
        y, x = random.uniform(0, height, 1), random.uniform(0, width, 1)
        _splat(vesicles, y, x, random.uniform(0.4, 1))
    photons = 8 * cell
    photons += 250 * gaussian_filter(filaments, 0.8)
    photons += 1500 * gaussian_filter(vesicles, 1.2)
    return photons[..., None]


def camera_counts(photons: np.ndarray, seed: int) -> np.ndarray:
    """Returns what a camera counts: photons with Poisson noise, times 20, plus 100.

    Args:
        photons: expected photons per pixel, of any shape.
        seed: of the noise.

    Returns:
        uint16 of the same shape.
    """
    counted = np.random.default_rng([seed, 2]).poisson(photons)
    return np.minimum(_OFFSET + _GAIN * counted, _LARGEST_COUNT).astype(np.uint16)


def elevation(seed: int, height: int, width: int) -> np.ndarray:
    """Returns the surface of a terrain with ridges, valleys, terraces, embankments and houses.

    Returns:
        float32 (height, width, 1): metres above the sea.
    """
    random = np.random.default_rng([seed, 3])
    shape = height * _FINE, width * _FINE
    y, x = _grid(height, width)
    metres = 12 * _smooth_noise(random, *shape, 80)
    for sigma, size in _CREASES:
        sign = random.choice((-1, 1))  # ridges or valleys
        metres += sign * size * np.abs(_smooth_noise(random, *shape, sigma))
    steps = np.round(metres / 5) * 5
    metres = np.where(_smooth_noise(random, *shape, 60) > 0.7, steps, metres)
    for _ in range(random.poisson(2) + 1):
        distance = _distance_to_line(random, y, x, bend=0.1)
        metres += 4 * np.clip(2.5 - distance, 0, 1)  # with slopes of one pixel
    for _ in range(random.poisson(height * width / 12000) + 1):
        for part, across, inside in _houses(random, y, x):
            metres[part] += inside * (random.uniform(3, 9) - 0.7 * np.abs(across))
    metres = _pixel_means(gaussian_filter(metres, _FINE / 2)[..., None])
    metres += 100 + random.normal(0, 0.05, metres.shape)
    return metres.astype(np.float32)


def _grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows and columns of the computed pixels, in pixels."""
    y, x = np.mgrid[: height * _FINE, : width * _FINE]
    return (y + 0.5) / _FINE, (x + 0.5) / _FINE


def _pixel_means(values: np.ndarray) -> np.ndarray:
    """Returns the pixels of which (h, w, c) values are computed."""
    height, width, channels = values.shape
    parts = values.reshape(height // _FINE, _FINE, width // _FINE, _FINE, channels)
    return parts.mean(axis=(1, 3))


def _smooth_noise(random: np.random.Generator, height: int, width: int, sigma: float) -> np.ndarray:
    """Returns noise of zero mean and unit variance whose structures have about `sigma` pixels.

    It is enlarged from a coarse grid, which is faster than a wide filter.
    """
    every = max(sigma / _COARSE_SIGMA, 1)
    margin = 6 * _COARSE_SIGMA  # so that small images have unit variance on average, not each
    coarse = [int(np.ceil(size / every)) + margin for size in (height, width)]
    noise = gaussian_filter(random.normal(size=coarse), sigma / every, mode="wrap")
    noise = (noise - noise.mean()) / noise.std()
    places = [np.arange(size) / every + 0.5 for size in (height, width)]
    return map_coordinates(noise, np.meshgrid(*places, indexing="ij"), order=3, mode="nearest")


def _fields(random: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Returns the reflectance (h, w, 4) of polygons of different covers, some with rows."""
    angle, stretch = random.uniform(0, np.pi), random.uniform(1.2, 2.5)
    u, v = _turned(y, x, angle)
    count = int(y.max() * x.max() / 900) + 4
    span = y.max() + x.max()
    seeds = random.uniform(-span, span, (4 * count, 2)) / (1, stretch)
    points = np.stack([u.ravel(), v.ravel() / stretch], axis=-1)
    field = cKDTree(seeds).query(points)[1].reshape(y.shape)
    kind = random.choice(len(_COVERS), len(seeds), p=(0.3, 0.2, 0.15, 0.2, 0.15))
    shade = random.uniform(0.8, 1.2, (len(seeds), 1)) * random.uniform(0.93, 1.07, (len(seeds), 4))
    rows = random.uniform(3.5, 8, len(seeds))  # pixels from row to row
    depth = np.where(random.random(len(seeds)) < 0.5, random.uniform(0.05, 0.15, len(seeds)), 0)
    direction = random.uniform(0, np.pi, len(seeds))[field]
    along, _ = _turned(y, x, direction)
    wave = np.sin(2 * np.pi * along / rows[field])
    canopy = gaussian_filter(random.normal(size=y.shape), 1.2 * _FINE) * 4 * _FINE
    texture = np.where(kind[field] == _FOREST, 0.18 * canopy, depth[field] * wave)
    return (_COVERS[kind] * shade)[field] * (1 + texture)[..., None]


def _draw_village(
    random: np.random.Generator, land: np.ndarray, y: np.ndarray, x: np.ndarray
) -> None:
    """Draws some 20 roofs around a place."""
    for part, across, inside in _houses(random, y, x):
        roof = random.choice(_ROOFS) * random.uniform(0.8, 1.2)
        land[part][inside & (across < 0)] = roof  # one side is lit
        land[part][inside & (across >= 0)] = 0.7 * roof


def _houses(
    random: np.random.Generator, y: np.ndarray, x: np.ndarray
) -> Iterator[tuple[tuple[slice, slice], np.ndarray, np.ndarray]]:
    """Yields the houses of a village, along one direction: (part of the image, the distance from
    the ridge in pixels, whether pixels are inside), the last two for that part."""
    centre = random.uniform(0, y.max()), random.uniform(0, x.max())
    angle = random.uniform(0, np.pi)
    for _ in range(random.poisson(20)):
        top, left = random.normal(centre, 18)
        half = random.uniform(1.2, 4, 2)
        rows, columns = (
            slice(max(int((middle - 6) * _FINE), 0), max(int((middle + 6) * _FINE), 0))
            for middle in (top, left)
        )
        u, v = _turned(y[rows, columns] - top, x[rows, columns] - left, angle)
        yield (rows, columns), u, (np.abs(u) < half[0]) & (np.abs(v) < half[1])


def _distance_to_line(
    random: np.random.Generator, y: np.ndarray, x: np.ndarray, bend: float
) -> np.ndarray:
    """Returns the distance in pixels to a random line, which may bend."""
    u, v = _turned(y, x, random.uniform(0, np.pi))
    place = random.uniform(v.min(), v.max())
    length = random.uniform(60, 200)
    return np.abs(v - place - bend * length * np.sin(u / length * 2 + random.uniform(0, 6)))


def _turned(
    y: np.ndarray, x: np.ndarray, angle: float | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    return np.cos(angle) * y + np.sin(angle) * x, np.cos(angle) * x - np.sin(angle) * y


def _draw_filament(random: np.random.Generator, image: np.ndarray) -> None:
    """Adds a thin curve whose direction changes slowly, of about unit brightness per pixel."""
    length = int(random.uniform(40, 160))
    turns = gaussian_filter(random.normal(size=4 * length), 30) * 0.25
    direction = random.uniform(0, 2 * np.pi) + np.cumsum(turns)
    y = random.uniform(0, image.shape[0]) + np.cumsum(np.sin(direction)) / 4
    x = random.uniform(0, image.shape[1]) + np.cumsum(np.cos(direction)) / 4
    _splat(image, y, x, random.uniform(0.5, 1.5) / 4)


def _splat(image: np.ndarray, y: np.ndarray, x: np.ndarray, amount: float) -> None:
    """Adds points, each shared among the four pixels around it."""
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
        rows, columns = top + dy, left + dx
        share = (1 - np.abs(y - rows)) * (1 - np.abs(x - columns))
        inside = (rows >= 0) & (rows < image.shape[0]) & (columns >= 0) & (columns < image.shape[1])
        np.add.at(image, (rows[inside], columns[inside]), amount * share[inside])
