"""What dominates what: better on both axes, beyond both intervals, and only where no failed check spoils it."""

from __future__ import annotations

import numpy as np
import pytest

from reports.analysis.analyse import analyse_folder
from reports.analysis.quality.tasks import analyse_quality
from reports.analysis.records import Analysis
from reports.checks.results import Observation
from reports.decision.dominance import PERPLEXITY, SCORES, Axes, axes_of, dominances, dominated_by
from reports.document.blocks import Table
from reports.document.wording import TIMES, TO
from reports.sections.quality.dominance import dominance_section
from tests.reports.example_run import BATCH, SINGLE, Example, write_run
from tests.reports.statistics.test_retention import accuracy

SMALL = (SINGLE.model_copy(update={"requests": 3}), BATCH.model_copy(update={"requests": 8}))
TIME_AND_RATE = Axes("median_e2e_ms", "output_tokens_per_s")
JOULES_AND_TEXT = Axes("joules_per_output_token", PERPLEXITY)
JOULES_AND_SCORES = Axes("joules_per_output_token", SCORES)
LABELS = ["width-1024", "width-768", "width-512"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    """Narrower widths are faster and take fewer joules in batches; perplexities are of 16 windows of text."""
    example = Example(widths=(1024, 768, 512), workloads=SMALL, noise=0.01)
    found = analyse_folder(write_run(tmp_path_factory.mktemp("dominance") / "run", example))
    return with_losses(found, {"width-1024": 0.0, "width-768": -0.1, "width-512": 0.5})


def with_losses(analysis: Analysis, losses: dict[str, float]) -> Analysis:
    """Nats a token more than the baseline's, with a spread over windows."""
    rng = np.random.default_rng(3)
    text = {"tokens": 1600, "text": "t", "text_sha256": "0", "standard_error": 0.1, "windows_sha256": "w"}
    configurations = []
    for one in analysis.configurations:
        nats = (100 * (2 + losses[one.info.label] + rng.normal(0, 0.02, 16))).tolist()
        quality = one.info.quality.model_copy(update=text | {"window_nats": nats, "window_tokens": [100] * 16})
        info = one.info.model_copy(update={"quality": quality})
        configurations.append(one.model_copy(update={"info": info, "perplexity": {"ratio": 1.0}}))
    return analysis.model_copy(update={"configurations": configurations})


def with_scores(analysis: Analysis, right: dict[str, float]) -> Analysis:
    """Two tasks of 300 items, of which a share is right by label: what is hard for one is mostly hard for all."""
    tasks = {}
    for number, (label, share) in enumerate(right.items()):
        rng = np.random.default_rng([5, number])
        items = [np.linspace(0, 1, 300) + rng.normal(0, 0.05, 300) for _ in range(2)]
        tasks[label] = [accuracy(one < share, task=f"task-{of}") for of, one in enumerate(items)]
    infos = [one.info for one in analysis.configurations]
    return analysis.model_copy(update={"quality": analyse_quality(tasks, infos, "width-1024", {}, 0.01)})


def pairs(analysis: Analysis, workload: str, axes: Axes) -> set[tuple[str, str]]:
    return {(one.better, one.worse) for one in dominances(analysis, workload, axes)}


def test_better_on_both_axes_dominates_and_better_on_one_does_not(measured):
    every = {("width-512", "width-768"), ("width-512", "width-1024"), ("width-768", "width-1024")}
    assert pairs(measured, "batch-8", TIME_AND_RATE) == every
    # Width 512 saves joules and costs quality; width 768 has both for itself.
    assert pairs(measured, "batch-8", JOULES_AND_TEXT) == {("width-768", "width-1024")}


def test_without_a_difference_beyond_chance_nothing_dominates(measured):
    assert pairs(measured, "single-request", TIME_AND_RATE) == set()


def test_the_strongest_of_several_comes_first(measured):
    found = dominances(measured, "batch-8", TIME_AND_RATE)
    assert [one.better for one in dominated_by(found, "width-1024")] == ["width-512", "width-768"]


def test_what_a_failed_check_spoils_takes_no_part(measured):
    seen = Observation(outcome="fail", label="width-512", workload="batch-8", trials=1, reason="r")
    checks = [
        one.model_copy(update={"observations": [seen]}) if one.check == "client-saturated" else one
        for one in measured.checks
    ]
    spoiled = measured.model_copy(update={"checks": checks})
    assert pairs(spoiled, "batch-8", TIME_AND_RATE) == {("width-768", "width-1024")}


def test_the_axes_are_joules_and_perplexity_and_time_and_throughput(measured):
    assert axes_of(measured, "batch-8") == [JOULES_AND_TEXT, TIME_AND_RATE]


def test_the_table_says_by_how_much_on_both_axes_and_what_is_left(measured):
    tables = [block for block in dominance_section(measured).blocks if isinstance(block, Table)]
    joules = next(table for table in tables if table.caption == "batch-8, J/output token and perplexity")
    (row,) = joules.rows
    assert [entry.text for entry in row.entries[:2]] == ["width 1024", "width 768"]
    assert row.entries[2].text == f"0.90{TIMES} (0.89{TO}0.91)"
    assert row.entries[3].text.startswith("0.9")
    assert joules.remarks == ["Not dominated: widths 768 and 512."]


def test_with_task_scores_joules_are_held_against_what_each_keeps_of_them(measured):
    scored = with_scores(measured, dict(zip(LABELS, (0.5, 0.6, 0.4), strict=True)))
    assert axes_of(scored, "batch-8") == [JOULES_AND_TEXT, JOULES_AND_SCORES, TIME_AND_RATE]
    # Width 512 takes the fewest joules and answers worse than both; width 768 is better in both than the baseline.
    assert pairs(scored, "batch-8", JOULES_AND_SCORES) == {("width-768", "width-1024")}
    assert pairs(with_scores(measured, dict.fromkeys(LABELS, 0.5)), "batch-8", JOULES_AND_SCORES) == set()


def test_the_table_has_the_difference_of_scores_in_points_of_the_baselines(measured):
    scored = with_scores(measured, dict(zip(LABELS, (0.5, 0.6, 0.4), strict=True)))
    tables = [block for block in dominance_section(scored).blocks if isinstance(block, Table)]
    found = next(table for table in tables if table.caption == f"batch-8, J/output token and {SCORES}")
    (row,) = found.rows
    assert [entry.text for entry in row.entries[:2]] == ["width 1024", "width 768"]
    points, _, interval = row.entries[3].text.partition(" points ")
    low, high = (float(end) for end in interval.strip("()").split(TO))
    assert 10 < low < float(points) < high < 30
    assert found.remarks == ["Not dominated: widths 768 and 512."]


def test_a_task_that_one_has_not_finished_takes_no_part(measured):
    scored = with_scores(measured, dict.fromkeys(LABELS[:2], 0.5))
    assert axes_of(scored, "batch-8") == [JOULES_AND_TEXT, TIME_AND_RATE]
