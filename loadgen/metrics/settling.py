"""Whether a transient at the beginning of a window moved its mean: early generations against late ones.

Each generation gives a time per token. A transient that settles within the window leaves its shape in them: a step, a ramp or
an exponential, of some length. Each such shape is fitted with a level, and the largest of the fits' t values is held against
what noise alone gives as the largest in 1 of 20 windows, simulated for this number of generations. Noise that lasts from one
generation to the next lowers the t value, as far as so few generations show it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FEWEST = 6  # generations
MATTERS = 0.005  # of the mean: a smaller shift is not worth a warning, however sure
_STEPS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6)  # lengths of the shapes, as shares of the window
_RAMPS = (0.25, 0.5, 0.75)
_EXPONENTIALS = (0.03, 0.06, 0.12, 0.25)  # their time constants
_FALSE_ALARMS = 0.05
_DRAWS = 20_000
_POWER_90 = 1.282  # standard deviations between what is seen in half of the windows and what is in 90 %
_MISFIT = 1.25  # a transient between two of the shapes is fitted as a shift of down to 1/1.25 of its own
_EXACT = 1e-6  # of the mean: variations below it are rounding

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Settling:
    """What the generations of a window show. Shares are of the level at which the window ends."""

    generations: int
    shift: float  # of the window's mean, by the shape that fits best
    found: bool  # the shift is beyond chance, and matters
    visible: float  # a transient in the window's first 60 % that shifts the mean by this share is found with 90 %


def settling(times: Sequence[float] | FloatArray) -> Settling | None:
    """Judge the time per token of each generation, in order. None: fewer than `FEWEST` generations."""
    values = np.asarray(times, dtype=np.float64)
    n = len(values)
    if n < FEWEST or not values.all():
        return None
    shapes = _shapes(n)
    means = shapes.mean(axis=1)
    [t], [best], [lasting] = _largest_t(values[np.newaxis], shapes)
    lengths = np.linalg.norm(shapes - means[:, np.newaxis], axis=1)
    height = float(values @ (shapes[best] - means[best])) / lengths[best] ** 2
    level = values.mean() - height * means[best]
    shift = float(height * means[best] / level)
    per_noise = float((means / lengths).max())  # of the shape that is hardest to see
    error = lasting * max(values.std(ddof=1) / values.mean(), _EXACT) * per_noise
    visible = max(_limit(n) * error, _MISFIT * MATTERS) + _POWER_90 * error
    return Settling(n, shift, bool(t > _limit(n) and abs(shift) > MATTERS), float(visible))


def _shapes(n: int) -> FloatArray:
    """[shapes, generations], 1 at first and 0 in the end."""
    at = np.arange(n)
    steps = [(at < max(1, round(share * n))).astype(np.float64) for share in _STEPS]
    ramps = [np.clip(1 - (at + 0.5) / (share * n), 0, None) for share in _RAMPS]
    exponentials = [np.exp(-at / (share * n)) for share in _EXPONENTIALS]
    return np.unique(np.array([*steps, *ramps, *exponentials]), axis=0)


def _largest_t(values: FloatArray, shapes: FloatArray) -> tuple[FloatArray, npt.NDArray[np.intp], FloatArray]:
    """(largest |t| over the shapes, which shape, by how much lasting noise widens its error) of each row of values."""
    n, rows = values.shape[1], np.arange(len(values))
    centred = shapes - shapes.mean(axis=1, keepdims=True)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    means = values.mean(axis=1, keepdims=True)
    about = values - means
    explained = about @ centred.T
    rounding = n * (_EXACT * means) ** 2
    left = np.maximum((about**2).sum(axis=1, keepdims=True) - explained**2, rounding)
    best = left.argmin(axis=1)
    height, left = explained[rows, best], left[rows, best]
    rest = about - height[:, np.newaxis] * centred[best]
    # A fit takes about 2/n off the correlation of neighbours.
    neighbours = np.clip((rest[:, 1:] * rest[:, :-1]).sum(axis=1) / left + 2 / n, 0, 0.9)
    lasting = np.sqrt((1 + neighbours) / (1 - neighbours))
    return np.abs(height) / np.sqrt(left / (n - 2)) / lasting, best, lasting


@functools.cache
def _limit(n: int) -> float:
    """The 95th percentile of the largest |t| under normal noise, for this number of generations; the draws are always the same."""
    noise = np.random.default_rng(n).normal(size=(_DRAWS, n))
    return float(np.quantile(_largest_t(noise, _shapes(n))[0], 1 - _FALSE_ALARMS))
