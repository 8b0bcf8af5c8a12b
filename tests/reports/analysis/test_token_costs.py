"""A run whose energy model is known shares the joules of its trials by tokens, the same in its report and in its exports."""

from __future__ import annotations

import csv
from collections import defaultdict

import pytest

from loadgen.metrics.request_joules import share_joules
from reports.analysis.analyse import analyse_folder
from reports.analysis.token_costs import read_requests, with_token_costs
from reports.exports.trials import export
from reports.runs.reading import read_run
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
    example = Prefilled(widths=(1024, 512), workloads=SHAPES, blocks=3, noise=0.01)
    return write_run(tmp_path_factory.mktemp("shapes") / "run", example)


def test_a_run_of_several_shapes_shares_by_tokens_and_one_of_a_single_shape_by_time(folder, tmp_path):
    assert {tuple(cell.joules_shared_by) for cell in analyse_folder(folder).cells} == {("tokens",)}
    alone = write_run(tmp_path / "run", Prefilled(widths=(1024, 512), workloads=SHAPES[:1], blocks=3))
    assert {tuple(cell.joules_shared_by) for cell in analyse_folder(alone).cells} == {("time in flight",)}


def test_the_costs_are_those_of_net_joules(folder):
    metrics = with_token_costs(read_run(folder)).trials[0].metrics
    # 180 W less 60 W of idle power.
    assert metrics.costs.joules[:2] == pytest.approx((120 * 0.1e-3, 120 * 10e-3), rel=0.1)


def test_the_exports_have_the_shares_of_the_report_and_they_add_up_to_the_meter(folder):
    sums = defaultdict(float)
    for row in csv.DictReader(export([folder], "csv", None).read_text().splitlines()):
        assert row["joules_shared_by"] == "tokens"
        sums[row["trial"]] += float(row["joules"])
    for load in read_requests(folder).trials:
        empty = share_joules(load.trial.energy, load.metrics).unattributed_joules
        assert sums[load.name] + empty == pytest.approx(load.trial.energy.gross_joules)


def test_the_report_has_a_table_of_them_for_each_workload(folder):
    section = request_joules_section(analyse_folder(folder))
    _, *tables = section.blocks
    assert len(tables) == len(SHAPES)
    assert [entry.text for entry in tables[0].rows[0].entries][-1] == "tokens"
