"""A run whose energy model is known shares the joules of its trials by tokens, the same in its report and in its exports."""

from __future__ import annotations

import csv
from collections import defaultdict

import pytest

from loadgen.metrics.request_joules import share_joules
from reports.analysis.analyse import analyse_folder
from reports.analysis.energy.token_costs import read_requests
from reports.exports.trials import as_csv
from reports.sections.energy.requests import request_joules_section
from tests.reports.example_run import SINGLE, Example, Truth, write_run

SHAPES = tuple(
    SINGLE.model_copy(update={"name": f"p{p}-o{o}", "prompt_tokens": p, "output_tokens": o, "requests": 6})
    for p in (64, 512)
    for o in (8, 32)
)


class Prefilled(Example):
    """A prompt takes 0.1 ms a token, at the power of an answer."""

    def truth(self, width, workload):
        return Truth(ttft_ms=20 + 0.1 * workload.prompt_tokens, tpot_ms=10.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    example = Prefilled(widths=(1024,), workloads=SHAPES, blocks=1, noise=0.003)
    return write_run(tmp_path_factory.mktemp("shapes") / "run", example)


@pytest.fixture(scope="module")
def analysis(folder):
    return analyse_folder(folder)


@pytest.fixture(scope="module")
def loads(folder):
    return read_requests(folder).trials


def test_a_run_of_several_shapes_shares_by_tokens_and_its_report_has_a_table_for_each(analysis):
    assert {tuple(cell.joules_shared_by) for cell in analysis.cells} == {("tokens",)}
    _, *tables = request_joules_section(analysis).blocks
    assert len(tables) == len(SHAPES)
    assert [entry.text for entry in tables[0].rows[0].entries][-1] == "tokens"


def test_the_costs_are_those_of_net_joules(loads):
    # 180 W less 60 W of idle power.
    assert loads[0].metrics.costs.joules[:2] == pytest.approx((120 * 0.1e-3, 120 * 10e-3), rel=0.1)


def test_the_csv_of_requests_has_the_shares_of_the_report_and_they_add_up_to_the_meter(loads):
    sums = defaultdict(float)
    for row in csv.DictReader(as_csv(loads).splitlines()):
        assert row["joules_shared_by"] == "tokens"
        sums[row["trial"]] += float(row["joules"])
    for load in loads:
        empty = share_joules(load.trial.energy, load.metrics).unattributed_joules
        assert sums[load.name] + empty == pytest.approx(load.trial.energy.gross_joules)
