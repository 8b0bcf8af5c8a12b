"""Two runs with known true figures, compared: changes are found, and nothing else."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from scipy import stats

from loadgen.workloads.base import Workload
from reports.analysis.analyse import analyse_folder
from reports.compare.runs import RunComparison, compare_runs
from reports.compare.text import render_comparison
from reports.errors import ReportError
from reports.statistics.unpaired import compare_unpaired
from tests.reports.example_run import BATCH, SINGLE, Example, Truth, write_run

SHORT = SINGLE.model_copy(update={"requests": 4})
PAIR = (1024, 512)


@dataclass(frozen=True)
class Slower(Example):
    """Multiply the duration of every token by a factor."""

    factor: float = 1.2

    def truth(self, width: int, workload: Workload) -> Truth:
        truth = super().truth(width, workload)
        return Truth(truth.ttft_ms, truth.tpot_ms * self.factor, truth.watts)


def compared(folder: Path, before: Example, after: Example, *, fail_over: float | None = 0.05) -> RunComparison:
    runs = [write_run(folder / name, example) for name, example in (("before", before), ("after", after))]
    return compare_runs(*map(analyse_folder, runs), margin=0.02, fail_over=fail_over)


def small(**changes) -> dict:
    return {"widths": PAIR, "workloads": (SHORT,), "noise": 0.01} | changes


def test_a_simulated_run_is_named_as_such(tmp_path):
    found = compared(tmp_path, Example(**small()), Example(**small(engine="synthetic")))
    assert found.simulated == ["after"]
    assert "Simulated, which decides nothing" in render_comparison(found, "text")


def test_95_of_100_intervals_between_runs_cover_the_true_ratio():
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(2000):
        before, after = np.exp(rng.normal(0, 0.05, 5)), 1.3 * np.exp(rng.normal(0, 0.02, 7))
        found = compare_unpaired(list(after), list(before), "lower")
        covered += found.low <= 1.3 <= found.high
    assert 0.935 <= covered / 2000 <= 0.97


def test_the_interval_is_that_of_welchs_t_test_on_logarithms():
    before, after = [1.0, 1.05, 1.02, 0.97], [1.31, 1.22, 1.4]
    found = compare_unpaired(after, before, "lower")
    low, high = stats.ttest_ind(np.log(after), np.log(before), equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((np.exp(low), np.exp(high)))


def test_two_runs_of_the_same_are_called_regressions_in_less_than_one_of_200_comparisons():
    rng = np.random.default_rng(6)
    runs = [[list(np.exp(rng.normal(0, 0.03, 5))) for _ in range(2)] for _ in range(3000)]
    worse = sum(compare_unpaired(a, b, "lower", margin=0.05).verdict == "worse" for a, b in runs)
    assert worse / 3000 < 0.005


@pytest.mark.parametrize(
    ("values", "better", "margin", "verdict"),
    [
        ([1.2, 1.2, 1.2], "lower", 0.05, "worse"),
        ([1.2, 1.2, 1.2], "higher", 0.05, "better"),
        ([0.8, 0.8, 0.8], "higher", 0.05, "worse"),
        ([1.04, 1.04, 1.04], "lower", 0.05, "equivalent"),
        ([0.9, 1.5, 1.2], "lower", 0.05, "undecided"),
    ],
)
def test_a_verdict_needs_the_whole_interval_beyond_the_margin(values, better, margin, verdict):
    assert compare_unpaired(values, [1.0, 1.0, 1.0], better, margin=margin).verdict == verdict


@pytest.mark.parametrize("values", [[], [0.0, 1.0], [1.0]])
def test_a_missing_interval_has_a_reason(values):
    found = compare_unpaired(values, [1.0, 1.1], "lower")
    assert found.low is None
    assert found.reason


def test_slower_tokens_are_found_in_every_cell_and_nothing_else_is(tmp_path):
    found = compared(tmp_path, Example(**small()), Slower(**small(seed=12)))
    assert found.regressed
    assert len(found.cells) == 2
    for cell in found.cells:
        verdicts = {q.key: (q.comparison.verdict, q.regression) for q in cell.quantities}
        assert verdicts["median_tpot_ms"] == ("worse", True)
        assert verdicts["output_tokens_per_s"] == ("worse", True)
        assert not verdicts["median_ttft_ms"][1]
        tpot = next(q for q in cell.quantities if q.key == "median_tpot_ms")
        assert tpot.comparison.low <= 1.2 <= tpot.comparison.high
        assert tpot.after / tpot.before == pytest.approx(tpot.comparison.ratio)


def test_a_repeated_run_is_no_regression(tmp_path):
    found = compared(tmp_path, Example(**small()), Example(**small(seed=12)))
    assert not found.regressed
    assert found.decidable == 8


def test_a_change_below_the_limit_is_reported_but_is_no_regression(tmp_path):
    found = compared(tmp_path, Example(**small(noise=0.001)), Slower(**small(noise=0.001, factor=1.04)))
    tpot = next(q for q in found.cells[0].quantities if q.key == "median_tpot_ms")
    assert (tpot.comparison.verdict, tpot.regression) == ("worse", False)


def test_without_a_limit_nothing_is_a_regression(tmp_path):
    assert not compared(tmp_path, Example(**small()), Slower(**small()), fail_over=None).regressed


def test_a_cell_that_failed_in_the_second_run_is_lost(tmp_path):
    failed = frozenset((block, 512, SHORT.name) for block in range(5))
    found = compared(tmp_path, Example(**small()), Example(**small(failed=failed)))
    [lost] = [c for c in found.cells if c.lost]
    assert (lost.width, lost.quantities) == (512, [])
    assert "out of memory" in lost.reason
    assert found.regressed
    assert len(found.failures) == 5


def test_a_cell_that_was_merely_not_measured_is_not_lost(tmp_path):
    missing = frozenset((block, 512, SHORT.name) for block in range(5))
    found = compared(tmp_path, Example(**small()), Example(**small(missing=missing, status="interrupted")))
    assert not found.regressed
    assert any("not measured" in (c.reason or "") for c in found.cells)


def test_another_load_under_the_same_name_is_not_compared(tmp_path):
    longer = SHORT.model_copy(update={"output_tokens": 64})
    found = compared(tmp_path, Example(**small()), Example(**small(workloads=(longer,))))
    assert found.cells[0].reason == "the workloads differ: output_tokens 32 and 64"
    assert not found.decidable


def test_joules_of_another_meter_are_not_compared(tmp_path):
    found = compared(tmp_path, Example(**small()), Example(**small(energy="modelled")))
    joules = {q.key: q.comparison for q in found.cells[0].quantities if "joules" in q.key}
    assert joules["joules_per_output_token"].ratio is None
    assert "no NVIDIA driver answers" in joules["joules_per_output_token"].reason
    assert "energy was not" in joules["modelled_joules_per_output_token"].reason or (
        "no power per core" in joules["modelled_joules_per_output_token"].reason
    )


def test_joules_of_two_meters_name_both(tmp_path):
    runs = [write_run(tmp_path / name, Example(**small())) for name in ("before", "after")]
    for file in runs[1].glob("trials/*/trial.json"):
        trial = json.loads(file.read_text())
        trial["energy"]["source"] = "rapl"
        file.write_text(json.dumps(trial))
    found = compare_runs(*map(analyse_folder, runs), margin=0.02)
    joules = next(q for q in found.cells[0].quantities if q.key == "joules_per_output_token")
    assert joules.comparison.reason == "measured by nvml-counter before, rapl after"
    assert joules.comparison.ratio is None


def test_widths_and_workloads_of_one_run_alone_are_listed(tmp_path):
    before = Example(**small(widths=(1024, 768, 512)))
    found = compared(tmp_path, before, Example(**small(workloads=(SHORT, BATCH), blocks=2)))
    assert found.only_before == ["width 768"]
    assert found.only_after == [f"workload {BATCH.name}"]
    assert [(c.width, c.workload) for c in found.cells] == [(1024, SHORT.name), (512, SHORT.name)]


def test_what_differs_between_the_machines_and_engines_is_listed_once(tmp_path):
    options = {width: {"dtype": "bfloat16"} for width in PAIR}
    runs = [
        write_run(tmp_path / "before", Example(**small())),
        write_run(tmp_path / "after", Example(**small(engine_options=options))),
    ]
    environment = json.loads((runs[1] / "environment.json").read_text())
    environment["packages"]["vllm"] = "0.32.0"
    (runs[1] / "environment.json").write_text(json.dumps(environment))
    found = compare_runs(*map(analyse_folder, runs), margin=0.02)
    differences = [(d.what, d.before, d.after) for d in found.differences]
    assert differences == [
        ("packages.vllm", None, "0.32.0"),
        ("engine option dtype", "float32", "bfloat16"),
    ]


def test_runs_with_nothing_in_common_are_refused(tmp_path):
    with pytest.raises(ReportError, match="no width and workload in common"):
        compared(tmp_path, Example(**small(widths=(1024,))), Example(**small(widths=(512,))))


def test_junit_counts_regressions_as_failures_and_names_cannot_break_it(tmp_path):
    evil = SHORT.model_copy(update={"name": "a"})
    found = compared(tmp_path, Example(**small(workloads=(evil,))), Slower(**small(workloads=(evil,))))
    found = found.model_copy(update={"before": '<script>"\x01', "failed_checks": ["x: <b>|`"]})
    root = ET.fromstring(render_comparison(found, "junit"))  # noqa: S314 - our own
    [suite] = root
    assert suite.get("tests") == "8"
    assert int(suite.get("failures")) == sum(q.regression for c in found.cells for q in c.quantities) >= 4
    assert len(suite.findall("testcase/failure")) == int(suite.get("failures"))
    markdown = render_comparison(found, "markdown")
    assert "<script>" not in markdown
    assert "<b>" not in markdown


def test_json_reads_back_equal_and_text_ends_with_the_outcome(tmp_path):
    found = compared(tmp_path, Example(**small()), Slower(**small()))
    assert RunComparison.model_validate_json(render_comparison(found, "json")) == found
    assert "regressions among 8 ratios with an interval" in render_comparison(found, "text").splitlines()[-1]
    markdown = render_comparison(found, "markdown").splitlines()
    [header] = [line for line in markdown if line.startswith("| Workload")]
    rows = [line for line in markdown if line.startswith("| single")]
    assert len(rows) == 8
    assert {row.replace("\\|", "").count("|") for row in rows} == {header.count("|")}
