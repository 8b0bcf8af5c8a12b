"""What `evaluate` prints of a suite's cost."""

from __future__ import annotations

from prunebench.quality.task_pass import cost_line
from reports.analysis.quality.cost import SuiteCost


def test_many_joules_are_printed_in_digits_not_in_powers_of_ten() -> None:
    cost = SuiteCost(
        tasks=1,
        hours=1.0,
        tokens=30_000,
        joules=234_567.0,
        joules_uncertainty=1_234.0,
        joules_per_token=7.8189,
        joules_per_token_uncertainty=0.04,
        source="nvml",
        reason=None,
        modelled_joules=123_456.0,
        modelled_basis="5 W a core",
    )
    line = cost_line(cost)
    unknown = cost_line(cost.model_copy(update={"joules_uncertainty": None}))
    assert line.startswith("1 task in 1:00:00, 30,000 tokens; ")
    assert "235,000 J ± 1,230 J (nvml), 7.82 J/token" in line
    assert "modelled, not measured: 123,000 J" in line
    assert "235,000 J (nvml)" in unknown
