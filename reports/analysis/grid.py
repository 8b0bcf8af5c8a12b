"""Factors of a grid: what each level does to a quantity, and whether two of them do together what each does alone.

An interaction is a ratio of ratios: what a level of one factor is worth at a level of another, over what it is worth at that one's
reference. It is taken block by block, so that what a block has in common falls out, and its interval is that of the mean of
logarithms. Levels' effects are averaged over the other factors only where no interaction of theirs was found.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from base.records import Record
from reports.statistics.ratios import Comparison, Direction, compare

Levels = Mapping[str, str]  # factor -> level
Values = Mapping[str, Mapping[int, float]]  # label -> block -> value
Compared = Callable[[Mapping[int, float], Mapping[int, float]], Comparison]


class Effect(Record):
    """A level of a factor against the factor's reference."""

    factor: str
    level: str
    beside: dict[str, str] | None  # levels of the other factors; None: over all of them, as a geometric mean
    comparison: Comparison  # without a ratio where an interaction stands against the mean


class Interaction(Record):
    """Two levels together, over the product of their effects. Above 1: the quantity is higher than that product."""

    levels: dict[str, str]  # of two factors
    beside: dict[str, str]  # reference levels of the others
    comparison: Comparison

    @property
    def is_there(self) -> bool:
        """Whether the interval leaves out 1."""
        low, high = self.comparison.low, self.comparison.high
        return low is not None and high is not None and not low <= 1 <= high


class GridFigures(Record):
    """One quantity under one workload."""

    workload: str
    quantity: str  # its key
    references: dict[str, str]
    effects: list[Effect]
    interactions: list[Interaction]


class Grid:
    """The combinations of levels that were measured.

    levels: label -> its levels; configurations without the baseline's factors are not part of the grid.
    """

    def __init__(self, levels: Mapping[str, Levels], baseline: str) -> None:
        every = {label: own for label, own in levels.items() if own}
        first = every.get(baseline) or next(iter(every.values()), {})
        self.references = dict(first)
        self._labels = {self._key(own): label for label, own in every.items() if own.keys() == first.keys()}

    @property
    def factors(self) -> list[str]:
        """Those with more than one level."""
        return [factor for factor in self.references if len(self._levels(factor)) > 1]

    def analyse(
        self,
        workload: str,
        quantity: str,
        values: Values,
        better: Direction,
        *,
        margin: float = 0.0,
        looks: Sequence[int] = (),
    ) -> GridFigures:
        """Every effect and every interaction of two factors; a combination that was not measured is left out."""
        compared = partial(compare, better=better, margin=margin, looks=looks)
        interactions = [
            Interaction(levels=levels, beside=beside, comparison=self._interaction(levels, values, compared))
            for one, other in itertools.combinations(self.factors, 2)
            for levels, beside in self._pairs(one, other)
        ]
        effects = []
        for factor in self.factors:
            apart = any(factor in found.levels and found.is_there for found in interactions)
            for level in self._levels(factor)[1:]:
                effects += self._effects(factor, level, values, compared, apart)
        return GridFigures(
            workload=workload,
            quantity=quantity,
            references=self.references,
            effects=effects,
            interactions=interactions,
        )

    def _levels(self, factor: str) -> list[str]:
        """The reference first, the others as they came."""
        seen = [level for key in self._labels for name, level in key if name == factor]
        return list(dict.fromkeys([self.references[factor], *seen]))

    def _key(self, levels: Levels) -> tuple[tuple[str, str], ...]:
        return tuple((factor, levels[factor]) for factor in self.references if factor in levels)

    def _label(self, changed: Levels) -> str | None:
        """Of the references but for these levels."""
        return self._labels.get(self._key({**self.references, **changed}))

    def _pairs(self, one: str, other: str) -> list[tuple[dict[str, str], dict[str, str]]]:
        """Levels of two factors whose four combinations were measured, and the references of the others."""
        beside = {name: level for name, level in self.references.items() if name in self.factors}
        del beside[one], beside[other]
        return [
            ({one: a, other: b}, beside)
            for a in self._levels(one)[1:]
            for b in self._levels(other)[1:]
            if all(self._label(levels) for levels in ({}, {one: a}, {other: b}, {one: a, other: b}))
        ]

    def _interaction(self, levels: dict[str, str], values: Values, compared: Compared) -> Comparison:
        (one, a), (other, b) = levels.items()
        both, neither = self._label(levels), self._label({})
        alone = self._label({one: a}), self._label({other: b})
        return compared(
            _product([values.get(label or "", {}) for label in (both, neither)]),
            _product([values.get(label or "", {}) for label in alone]),
        )

    def _effects(
        self,
        factor: str,
        level: str,
        values: Values,
        compared: Compared,
        apart: bool,
    ) -> list[Effect]:
        """At each combination of the others that has both sides, and over all of them if there are several."""
        sides: list[tuple[dict[str, str], str, str]] = []
        for key, label in self._labels.items():
            own = dict(key)
            reference = self._labels.get(self._key(own | {factor: self.references[factor]}))
            if own[factor] == level and reference is not None:
                beside = {name: value for name, value in own.items() if name != factor and name in self.factors}
                sides.append((beside, label, reference))
        effects = [
            Effect(
                factor=factor,
                level=level,
                beside=beside,
                comparison=compared(values.get(own, {}), values.get(reference, {})),
            )
            for beside, own, reference in sides
        ]
        if len(sides) < 2:
            return effects
        upper = _product([values.get(own, {}) for _, own, _ in sides], mean=True)
        lower = _product([values.get(reference, {}) for _, _, reference in sides], mean=True)
        reason = "an interaction was found: the effect depends on the other factors"
        mean = Comparison(reason=reason) if apart else compared(upper, lower)
        return [Effect(factor=factor, level=level, beside=None, comparison=mean), *effects]


def _product(sides: Sequence[Mapping[int, float]], *, mean: bool = False) -> dict[int, float]:
    """By block, of blocks that all have; the geometric mean instead. A value that is not positive makes it 0."""
    blocks = set.intersection(*(set(side) for side in sides))
    power = 1 / len(sides) if mean else 1.0
    return {
        block: math.prod(side[block] ** power for side in sides) if min(side[block] for side in sides) > 0 else 0.0
        for block in sorted(blocks)
    }
