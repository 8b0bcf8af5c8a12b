"""The error left for an interval whose run could go on after each look at its results.

A run that adds blocks until its intervals are narrow, or that is extended after its report was read, has several looks, and a
95 % interval at each of them covers the truth at all of them in fewer than 95 % of runs. Here the intervals of all looks hold
together: they are repeated confidence intervals (Jennison and Turnbull, JRSS B 51, 1989) of a group-sequential design with alpha spending
(Lan and DeMets, Biometrika 70, 1983). They are valid however it was decided to go on: by a width, a verdict, the clock, or a whim.

A rule that stops at a width alone would allow narrower ones, since the mean of normal values does not depend on their spread; but a live
view and a report show the verdict as well, and who extends a run has seen it. A confidence sequence for t (Wang and Ramdas, arXiv
2310.03722) is a tenth wider at ten blocks even where it is tuned for those, and then without an end at three.

Spent by a look after n blocks are all but `_HELD_BACK` x first / n of the error: a quarter at the first look, half of the rest whenever
the blocks double. So no last look has to be known: a run may always be extended. Chances are exact for Student's t of normal
values, not taken over from a known variance: t after n + 1 values depends on t after n and on nothing else before it
(`_beyond`), so that the chance of crossing a boundary for the first time is found by one integral a block (Armitage, McPherson and
Rowe, JRSS A 132, 1969, for a known variance).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from base.distributions import t_two_sided

_HELD_BACK = 0.75  # share of the error that the first look leaves for those after it
_BINS, _ANGLES, _HALVINGS = 300, 4001, 60

Floats = npt.NDArray[np.float64]


def error_at(look: int, looks: Sequence[int], error: float) -> float:
    """The two-sided error of Student's t interval after `look` blocks, of a total of `error` over all looks.

    `looks` are the numbers of blocks after which the run could end, in order; none: it had a fixed length. One that is not
    among them, of a run that was stopped within a block, counts as the next one.
    """
    if not looks:
        return error
    now = next((one for one in looks if one >= look), look)
    return _last((*(one for one in looks if 2 <= one < now), max(2, now)), error).level


class _State:
    """After a look: where runs are that crossed no boundary so far. `places` are |S| / sqrt(Q), of the sum S and the sum of squares Q."""

    def __init__(self, places: Floats, chances: Floats, spent: float, level: float) -> None:
        self.places, self.chances, self.spent, self.level = places, chances, spent, level


@lru_cache(maxsize=4096)
def _last(looks: tuple[int, ...], error: float) -> _State:
    """The state after the last look; those before it are found first, and kept."""
    *before, now = looks
    state = _last(tuple(before), error) if before else _State(np.ones(1), np.ones(1), 0.0, 1.0)
    places, chances = state.places, state.chances
    for blocks in range(before[-1] if before else 1, now - 1):
        places, chances = _binned(places, chances, blocks, math.pi / 2)
    total = error * (1 - _HELD_BACK * looks[0] / now)
    low, high = 0.0, math.pi / 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        end = math.sqrt(now) * np.sin([middle])
        beyond = float(_beyond(places, end, now - 1)[0] @ chances)
        low, high = (middle, high) if beyond > total - state.spent else (low, middle)
    places, chances = _binned(places, chances, now - 1, high)
    return _State(places, chances, total, t_two_sided(math.tan(high) * math.sqrt(now - 1), now - 1))


def _binned(places: Floats, chances: Floats, blocks: int, end: float) -> tuple[Floats, Floats]:
    """One block later: the middles of bins and their chances. Bins are even in arctan(t / sqrt(blocks)), from 0 to `end`."""
    edges = np.linspace(0.0, end, _BINS + 1)
    reach = math.sqrt(blocks + 1)
    above = _beyond(places, reach * np.sin(edges), blocks) @ chances
    return reach * np.sin((edges[1:] + edges[:-1]) / 2), above[:-1] - above[1:]


def _beyond(places: Floats, ends: Floats, blocks: int) -> Floats:
    """(ends, places): the chance that |S| / sqrt(Q) is beyond an end one block later.

    The next value over sqrt(Q) is tan(a) with a density of cos(a)^(blocks - 1), whatever was before it: then u becomes
    u cos(a) + sin(a) = sqrt(1 + u^2) sin(a + arctan(u)).
    """
    turn = np.arctan(places)
    with np.errstate(invalid="ignore"):
        reach = np.arcsin(np.minimum(1.0, ends[:, None] / np.sqrt(1 + places**2)))
    upper = _angle_below(np.minimum(math.pi - reach - turn, math.pi / 2), blocks) - _angle_below(reach - turn, blocks)
    return upper + _angle_below(-reach - turn, blocks)


def _angle_below(angles: Floats, blocks: int) -> Floats:
    grid, below = _angles(blocks)
    return np.interp(angles, grid, below)


@lru_cache(maxsize=256)
def _angles(blocks: int) -> tuple[Floats, Floats]:
    """The distribution of an angle whose density is cos^(blocks - 1) between -pi/2 and pi/2."""
    grid = np.linspace(-math.pi / 2, math.pi / 2, _ANGLES)
    density = np.clip(np.cos(grid), 0.0, None) ** (blocks - 1)
    below = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return grid, below / below[-1]
