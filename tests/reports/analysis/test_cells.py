"""The figures of a report against the truths that the run was written from."""

from __future__ import annotations

import json

import pytest

from loadgen.workloads.mix import MixLoad
from reports.analysis.analyse import analyse_folder
from reports.compare.runs import compare_runs
from tests.reports.example_run import BATCH, HIDDEN, NO_METER, REMEDY, SINGLE, Example, write_run

EXAMPLE = Example()
SMALL = (SINGLE.model_copy(update={"requests": 3}), BATCH.model_copy(update={"requests": 8}))


def batch_throughput(width: int) -> float:
    """Output tokens/s of the exact batch workload: groups of eight, 0.1 ms of closing and 0.2 ms of pause each."""
    truth, groups = EXAMPLE.truth(width, BATCH), BATCH.requests // BATCH.batch_size
    group_s = (truth.ttft_ms + (BATCH.output_tokens - 1) * truth.tpot_ms + 0.1) / 1e3
    return BATCH.requests * BATCH.output_tokens / (groups * group_s + (groups - 1) * 0.0002)


@pytest.mark.parametrize("width", EXAMPLE.widths)
def test_every_figure_of_an_exact_run_is_the_truth(exact, width):
    truth, cell = EXAMPLE.truth(width, BATCH), exact.cell(f"width-{width}", "batch-8")
    assert cell.values["median_ttft_ms"].median == pytest.approx(truth.ttft_ms, rel=1e-6)
    assert cell.values["median_tpot_ms"].median == pytest.approx(truth.tpot_ms, rel=1e-6)
    assert cell.values["median_itl_ms"].median == pytest.approx(truth.tpot_ms, rel=1e-6)
    assert cell.values["output_tokens_per_s"].median == pytest.approx(batch_throughput(width), rel=1e-6)
    assert cell.values["joules_per_output_token"].median == pytest.approx(
        truth.watts / batch_throughput(width), rel=1e-6
    )
    assert cell.values["net_joules_per_output_token"].median == pytest.approx(
        (truth.watts - 60) / batch_throughput(width), rel=1e-6
    )
    assert cell.trials == 5
    assert cell.requests == 5 * BATCH.requests


@pytest.mark.parametrize("width", EXAMPLE.widths[1:])
def test_ratios_of_an_exact_run_are_the_true_ratios(exact, width):
    found = exact.cell(f"width-{width}", "batch-8").values["output_tokens_per_s"].comparison
    assert found.ratio == pytest.approx(batch_throughput(width) / batch_throughput(1024), rel=1e-6)
    assert found.verdict == "better"
    assert len(found.ratios) == 5


def test_a_machine_that_measured_needs_no_remedy(exact):
    assert exact.energy_remedies == []


def test_the_baseline_is_not_compared_with_itself(exact):
    assert all(v.comparison is None for v in exact.cell("width-1024", "batch-8").values.values())


def test_quality_stands_beside_its_ratio(exact):
    by_width = {c.info.width: c for c in exact.configurations}
    assert by_width[512].info.quality.perplexity == pytest.approx(EXAMPLE.perplexity(512))
    assert by_width[512].perplexity_ratio == pytest.approx(EXAMPLE.perplexity(512) / EXAMPLE.perplexity(1024))
    assert by_width[512].info.expansion_ratio == 512 / HIDDEN


def test_noise_around_equal_speeds_is_rarely_called_a_difference(tmp_path):
    def verdict(seed: int) -> str:
        example = Example(noise=0.01, seed=seed, workloads=SMALL[:1], widths=(1024, 512))
        found = analyse_folder(write_run(tmp_path / str(seed), example))
        return found.cell("width-512", "single-request").values["median_tpot_ms"].comparison.verdict

    verdicts = [verdict(seed) for seed in range(25)]
    assert sum(v in {"equivalent", "undecided"} for v in verdicts) >= 22


def test_noise_does_not_hide_a_gain_of_a_fifth(tmp_path):
    found = analyse_folder(write_run(tmp_path / "run", Example(noise=0.01, workloads=SMALL[1:], widths=(1024, 512))))
    assert found.cell("width-512", "batch-8").values["median_tpot_ms"].comparison.verdict == "better"


def test_without_a_meter_joules_are_null_with_the_reason(tmp_path):
    found = analyse_folder(write_run(tmp_path / "run", Example(energy="none", workloads=SMALL, blocks=2)))
    for cell in found.cells:
        for key in ("joules_per_output_token", "joules_per_request", "net_joules_per_output_token"):
            assert cell.values[key].median is None
            assert cell.values[key].reason == NO_METER
        assert cell.energy_sources == []
    assert found.energy_remedies == [REMEDY]


def test_modelled_joules_have_separate_quantities(tmp_path):
    found = analyse_folder(write_run(tmp_path / "run", Example(energy="modelled", workloads=SMALL, blocks=2)))
    cell = found.cell("width-512", "batch-8")
    assert cell.values["joules_per_output_token"].median is None
    assert cell.values["modelled_joules_per_output_token"].median > 0
    assert cell.modelled_basis == ["CPU seconds x 7.5 W per core, assumed"]


def test_a_failed_cell_says_what_failed(tmp_path):
    failed = frozenset((b, 512, "batch-8") for b in range(2))
    found = analyse_folder(
        write_run(tmp_path / "run", Example(workloads=SMALL, blocks=2, failed=failed, status="failed"))
    )
    value = found.cell("width-512", "batch-8").values["output_tokens_per_s"]
    assert (value.median, value.trials) == (None, 0)
    assert value.reason == "failed: server ended with status 1: out of memory"
    assert len(found.failures) == 2
    assert found.cell("width-512", "single-request").trials == 2


def test_an_interrupted_run_reports_what_is_there(tmp_path):
    missing = frozenset((b, w, "batch-8") for b in (1, 2) for w in (640, 512)) | {(0, 512, "batch-8")}
    example = Example(workloads=SMALL, blocks=3, missing=missing, status="interrupted")
    found = analyse_folder(write_run(tmp_path / "run", example))
    assert found.cell("width-512", "batch-8").values["median_ttft_ms"].reason == "not measured: the run is interrupted"
    once = found.cell("width-640", "batch-8").values["median_ttft_ms"]
    assert once.median is not None
    assert (once.comparison.low, once.comparison.reason) == (None, "a single block has no interval")


def test_a_run_without_its_baseline_gives_figures_and_no_ratios(tmp_path):
    missing = frozenset((b, 1024, w.name) for b in range(2) for w in SMALL)
    found = analyse_folder(write_run(tmp_path / "run", Example(workloads=SMALL, blocks=2, missing=missing)))
    value = found.cell("width-512", "batch-8").values["output_tokens_per_s"]
    assert value.median is not None
    assert value.comparison.reason == "no block has both this configuration and the baseline"


def test_a_run_without_finished_trials_has_an_analysis(tmp_path):
    example = Example(
        workloads=SMALL, blocks=1, missing=frozenset((0, w, x.name) for w in EXAMPLE.widths for x in SMALL)
    )
    found = analyse_folder(write_run(tmp_path / "run", example))
    assert found.trials == []
    assert all(v.median is None and v.reason for c in found.cells for v in c.values.values())


def test_every_check_has_an_outcome_and_the_worst_observation_comes_first(exact):
    by_name = {c.check: c for c in exact.checks}
    assert by_name["failed-requests"].outcome == "pass"
    assert by_name["window-too-short"].outcome == "warn"
    assert by_name["schedule-lag"].outcome == "no data"
    assert by_name["window-too-short"].observations[0].trials == 5


def less_than_a_generation(run, pattern):
    for file in (run / "trials").glob(f"{pattern}/trial.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"generations": 0}))


def test_verdicts_exclude_trials_of_less_than_a_generation(tmp_path):
    run = write_run(tmp_path / "run", Example(widths=(1024, 512), workloads=SMALL[:1], blocks=3))
    less_than_a_generation(run, "0-width-512-*")
    value = analyse_folder(run).cell("width-512", SINGLE.name).values["output_tokens_per_s"]
    assert (value.trials, sorted(value.comparison.ratios)) == (3, [1, 2])
    less_than_a_generation(run, "[12]-width-1024-*")
    found = analyse_folder(run)
    comparison = found.cell("width-512", SINGLE.name).values["output_tokens_per_s"].comparison
    assert (comparison.ratio, comparison.verdict) == (None, None)
    assert "few-generations" in comparison.reason
    latency = found.cell("width-512", SINGLE.name).values["median_ttft_ms"].comparison
    assert (latency.ratio, latency.verdict, latency.reason) == (None, None, comparison.reason)


def test_two_runs_are_not_compared_by_trials_of_less_than_a_generation(tmp_path):
    example = Example(widths=(1024,), workloads=SMALL[:1], blocks=3)
    runs = [write_run(tmp_path / name, example) for name in ("before", "after")]
    less_than_a_generation(runs[1], "*")
    [cell] = compare_runs(*map(analyse_folder, runs), margin=0.02).cells
    assert {(q.trials_after, q.comparison.verdict) for q in cell.quantities if q.before is not None} == {(0, None)}
    assert all("few-generations" in q.comparison.reason for q in cell.quantities if q.before is not None)


def test_figures_say_by_which_rules_their_windows_were_cut(exact, tmp_path):
    assert exact.cell("width-512", "batch-8").windows == ["the whole load"]
    run = write_run(tmp_path / "run", Example(widths=(1024,), workloads=SMALL[:1], blocks=1))
    for file in (run / "trials").glob("*/trial.json"):
        recorded = json.loads(file.read_text()) | {"window_rule": "steady"}
        file.write_text(json.dumps({key: value for key, value in recorded.items() if key != "window_rules"}))
    assert analyse_folder(run).cell("width-1024", SINGLE.name).windows == [
        "the load less its ramps, by window rules 1 of earlier versions"
    ]


def test_a_part_of_which_one_side_fails_more_has_no_verdict_on_its_latency(tmp_path):
    parts = [{"name": "chat"}, {"name": "bulk"}]
    mix = MixLoad(name="office", rate=5, requests=40, prompt_tokens=64, output_tokens=32, parts=parts)

    def refuse(width, request):
        broken = width == 512 and mix.part_number(7, request.index) == 0 and request.index % 2
        return {"error": "HTTP 500"} if broken else {}

    run = write_run(tmp_path / "run", Example(widths=(1024, 512), workloads=(mix,), other=refuse))
    chat, bulk = (found for found in analyse_folder(run).groups if found.label == "width-512")
    assert (chat.group, chat.values["mean_e2e_ms"].comparison.verdict) == ("chat", None)
    assert "the shares of failed requests differ" in chat.values["mean_e2e_ms"].comparison.reason
    assert chat.values["requests_per_s"].comparison.verdict == "worse"
    assert (bulk.group, bulk.values["mean_e2e_ms"].comparison.verdict) == ("bulk", "better")
