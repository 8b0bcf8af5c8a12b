"""lm-eval's results as our records: scores with their standard errors, and what each item gave."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from prunebench.quality.suites import headline_rank
from reports.runs.records.quality import Score

_CLOSE = 1e-9  # relative; the same sum in another order


@dataclass(frozen=True)
class Items:
    """The fields of `TaskResult` of the same names; `count` is the number of all items, also where `values` are None."""

    count: int
    statistic: Literal["mean", "perplexity"] | None = None
    values: list[float] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    chance: float | None = None

    def with_error(self, score: Score) -> Score:
        """The score with a standard error from the items, where lm-eval has none: perplexities, by the delta method."""
        if score.standard_error is not None or self.statistic != "perplexity" or len(self.values) < 2:
            return score
        values, weights = np.array(self.values), np.array(self.weights)
        n = len(values)
        off = values - weights * values.sum() / weights.sum()
        spread = math.sqrt(n / (n - 1) * float((off**2).sum())) / float(weights.sum())
        return score.model_copy(update={"standard_error": score.value * spread})


def read_scores(found: Mapping[str, Any], name: str) -> list[Score]:
    """Every score of a task or group, the one it is known by first."""
    row, better = found["results"].get(name, {}), found["higher_is_better"].get(name) or {}
    scores = []
    for key, value in row.items():
        metric, comma, filter_name = key.partition(",")
        if not comma or metric.endswith("_stderr") or not _is_number(value):
            continue
        error = row.get(f"{metric}_stderr,{filter_name}")
        scores.append(
            Score(
                metric=metric,
                filter=filter_name,
                value=float(value),
                standard_error=float(error) if _is_number(error) else None,
                higher_is_better=better.get(metric) is not False and "perplexity" not in metric and metric != "bits_per_byte",
            )
        )  # fmt: skip
    return sorted(scores, key=lambda s: headline_rank(name, s.metric, s.filter))


def read_items(found: Mapping[str, Any], name: str, score: Score) -> Items:
    """The items behind a score: of one task in the data set's order, of a group task by task.

    Which statistic it is shows in the figures: the one that gives the score back from the items.
    """
    tasks = _leaves(found, name)
    samples = [s for task in tasks for s in sorted(_samples(found, task, score), key=lambda s: int(s["doc_id"]))]
    raw = [sample[score.metric] for sample in samples]
    values, weights = [], []
    for value in raw:
        pair = value if isinstance(value, tuple | list) else (value, 1.0)
        if len(pair) != 2 or not all(_is_number(v) or isinstance(v, bool) for v in pair):
            return Items(len(raw))
        values.append(float(pair[0]))
        weights.append(float(pair[1]))
    total = math.fsum(weights)
    if not values or total <= 0:
        return Items(len(raw))
    mean = math.fsum(values) / total
    if math.isclose(mean, score.value, rel_tol=_CLOSE, abs_tol=_CLOSE) and set(weights) == {1.0}:
        return Items(len(raw), "mean", values, chance=_chance(samples, values))
    if mean > -100 and math.isclose(math.exp(-mean), score.value, rel_tol=_CLOSE):
        return Items(len(raw), "perplexity", values, weights)
    return Items(len(raw))


def _chance(samples: list[Mapping[str, Any]], values: list[float]) -> float | None:
    """The score of guessing: one over the number of choices, each of which is a request; 0 where the answer is free text.

    None where several answers count in part, as in truthfulqa_mc2, or where lm-eval does not record the requests.
    """
    offered = [len(sample.get("arguments", ())) for sample in samples]
    if not all(offered):
        return None
    if max(offered) == 1:
        return 0.0
    return math.fsum(1 / n for n in offered) / len(offered) if set(values) <= {0.0, 1.0} else None


def _leaves(found: Mapping[str, Any], name: str) -> list[str]:
    children = found["group_subtasks"].get(name)
    return [name] if children is None else [leaf for child in children for leaf in _leaves(found, child)]


def _samples(found: Mapping[str, Any], task: str, score: Score) -> list[Mapping[str, Any]]:
    return [s for s in found["samples"].get(task, []) if s["filter"] == score.filter and score.metric in s]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
