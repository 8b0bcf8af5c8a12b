from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.truth.__main__ import RESULT, table
from tests.truth.registry import Row, Seen, seen, simulations

ROOT = Path(__file__).parents[2]
SIMULATIONS = simulations()


@pytest.mark.parametrize("name", SIMULATIONS)
def test_the_estimator_agrees_with_a_truth_that_was_computed_another_way(name):
    found = SIMULATIONS[name]
    results = seen(found.rows, found.outcomes(found.short))
    contradicted = {key: why for key, result in results.items() if (why := result.contradicts(found.rows[key]))}
    assert contradicted == {}


def test_the_committed_long_result_has_every_row_and_contradicts_none():
    recorded = json.loads((ROOT / RESULT).read_text(encoding="utf-8"))
    for name, simulation in SIMULATIONS.items():
        for key, row in simulation.rows.items():
            entry = recorded["simulations"][name][key]
            assert Seen(**entry).contradicts(row) is None, (name, key)


def test_the_page_shows_the_committed_result():
    recorded = json.loads((ROOT / RESULT).read_text(encoding="utf-8"))
    assert table(recorded) in (ROOT / "docs" / "reference" / "estimators.md").read_text(encoding="utf-8")


def test_a_share_that_chance_explains_is_not_contradicted_and_one_it_cannot_explain_is():
    row = Row("an interval", "always", "95 %", at_least=0.93, at_most=0.99)
    assert Seen(200, 0.92, is_share=True).contradicts(row) is None
    assert Seen(200, 0.80, is_share=True).contradicts(row) is not None
    assert Seen(5000, 1.0, is_share=True).contradicts(row) is not None
    assert Seen(0, None, is_share=True).contradicts(row) == "no run counted"
