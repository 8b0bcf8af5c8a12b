"""How narrowly the ratios are known whose intervals decide how many blocks a run has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Self

from base.choices import nearest
from base.records import Record
from reports.analysis.quantities import NET_JOULES, QUANTITIES
from reports.analysis.records import Precision, TrialFigures
from reports.statistics.ratios import MARGIN, compare
from reports.statistics.simultaneous import compare_together

EXAMPLE = "\N{PLUS-MINUS SIGN}2 % on joules_per_output_token and tpot"
_GOAL = re.compile(r"(?:\N{PLUS-MINUS SIGN}|\+/?-)\s*([0-9]*\.?[0-9]+)\s*%\s+on\s+(.+)")
# Without what goes without saying: tpot for median_tpot_ms. Net joules have no ratio, lengths no verdict.
_SHORT = {
    key.removeprefix("median_").removesuffix("_ms"): key
    for key, quantity in QUANTITIES.items()
    if key != NET_JOULES and quantity.better != "neither"
}
_NAMES = _SHORT | {key: key for key in _SHORT.values()}

Values = Mapping[str, Mapping[int, float]]  # by label and block
Group = tuple[str, str]  # workload, quantity


class Goal(Record):
    """How narrowly a run is to know which ratios."""

    within: float  # a share: 0.02 is from the ratio / 1.02 to the ratio x 1.02
    quantities: tuple[str, ...]  # their keys

    @classmethod
    def parse(cls, text: str) -> Self:
        """Such as "+-2% on joules_per_output_token and tpot". Raises ValueError that says what is accepted."""
        found = _GOAL.fullmatch(text.strip())
        if found is None or not 0 < float(found[1]) < 100:
            raise ValueError(f"{text!r} is not like {EXAMPLE!r}")
        names = [name.strip() for name in re.split(r",|\band\b", found[2]) if name.strip()]
        if unknown := next((name for name in names if name not in _NAMES), None):
            raise ValueError(f"no quantity {unknown}; {nearest(unknown, _SHORT, 'there are')}")
        return cls(within=float(found[1]) / 100, quantities=tuple(dict.fromkeys(_NAMES[name] for name in names)))


def values_of(
    trials: Iterable[TrialFigures], goal: Goal, labels: Sequence[str], workloads: Sequence[str]
) -> dict[Group, dict[str, dict[int, float]]]:
    """The goal's quantities under every workload that has them, of all labels, without trials that no verdict may use."""
    fit = [trial for trial in trials if trial.unfit is None]
    found: dict[Group, dict[str, dict[int, float]]] = {}
    for workload, key in [(workload, key) for workload in workloads for key in goal.quantities]:
        own = [trial for trial in fit if trial.workload == workload and key in trial.values]
        if own:
            found[workload, key] = {
                label: {trial.block: trial.values[key] for trial in own if trial.label == label} for label in labels
            }
    return found


def precisions(
    values: Mapping[Group, Values], baseline: str, looks: Sequence[int], margin: float = MARGIN
) -> list[Precision]:
    """Of every group and every configuration besides the baseline, in the order in which they came."""
    found = []
    for (workload, quantity), own in values.items():
        better = QUANTITIES[quantity].better
        compared = {
            label: compare(of_label, own.get(baseline, {}), better, margin=margin, looks=looks)
            for label, of_label in own.items()
            if label != baseline
        }
        together = compare_together(compared, better, margin=margin, groups=len(values), looks=looks)
        found += [
            Precision(
                workload=workload, quantity=quantity, label=label, blocks=len(one.ratios), comparison=together[label]
            )
            for label, one in compared.items()
        ]
    return found


def settled(found: Iterable[Precision], within: float) -> set[str]:
    """The labels whose every ratio is known to `within`, a share."""
    every: dict[str, bool] = {}
    for one in found:
        half = one.half_width
        every[one.label] = every.get(one.label, True) and half is not None and half <= within
    return {label for label, narrow in every.items() if narrow}
