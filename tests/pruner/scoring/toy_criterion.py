"""A new criterion as a stranger would add it: one module, and one call to register it."""

from __future__ import annotations

from pruner.scoring.criteria import Criterion, Floats, register


def _first_weight(rows: Floats) -> Floats:
    return rows[:, 0]


register(
    Criterion(
        name="toy",
        words="the first weights of the neuron's gate and up rows, added",
        origin="a test",
        row_figure=_first_weight,
    )
)
