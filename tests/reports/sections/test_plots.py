from __future__ import annotations

import re
from pathlib import Path

import pytest

from reports.analysis.analyse import analyse_folder
from reports.analysis.quantities import JOULES, MODELLED_JOULES, OUTPUT_TOKENS_PER_S, TPOT
from reports.analysis.records import Analysis
from reports.document.blocks import Plot
from reports.sections.plots.distributions import DISTRIBUTIONS, distribution_plot
from reports.sections.plots.order import order_plot
from reports.sections.plots.pareto import perplexity_plot
from reports.sections.plots.ratios import ratio_plot
from tests.reports.example_run import BATCH, HIDDEN, NO_METER, SINGLE, Example, write_run

SMALL = (SINGLE.model_copy(update={"requests": 3}), BATCH.model_copy(update={"requests": 8}))


def analysed(path: Path, example: Example) -> Analysis:
    return analyse_folder(write_run(path / "run", example))


def all_plots(analysis: Analysis) -> list[Plot]:
    return [
        plot
        for workload in analysis.info.workloads
        for plot in (
            ratio_plot(analysis, workload, OUTPUT_TOKENS_PER_S),
            ratio_plot(analysis, workload, JOULES),
            *(distribution_plot(analysis, workload, key) for key in DISTRIBUTIONS),
            perplexity_plot(analysis, workload),
            order_plot(analysis, workload),
        )
    ]


def test_every_plot_describes_its_content_in_words(exact):
    for plot in all_plots(exact):
        assert plot.chart is not None
        assert len(plot.alt) > 40
        assert not re.search(r"[<>]", plot.alt)


def test_points_and_bars_are_the_ratios_and_their_intervals(tmp_path):
    analysis = analysed(tmp_path, Example(noise=0.01, workloads=SMALL, widths=(1024, 512)))
    comparison = analysis.cell("width-512", "batch-8").values[OUTPUT_TOKENS_PER_S].comparison
    [blocks, point, baseline] = ratio_plot(analysis, "batch-8", OUTPUT_TOKENS_PER_S).chart.marks
    assert point.x == [512 / HIDDEN]
    assert (point.low, point.y, point.high) == ([comparison.low], [comparison.ratio], [comparison.high])
    assert blocks.y == list(comparison.ratios.values())
    assert (baseline.x, baseline.y) == ([1024 / HIDDEN], [1.0])


def test_an_interval_of_two_blocks_does_not_flatten_the_plot(tmp_path):
    analysis = analysed(tmp_path, Example(noise=0.3, blocks=2, workloads=SMALL[1:], widths=(1024, 512)))
    comparison = analysis.cell("width-512", "batch-8").values[TPOT].comparison
    plot = ratio_plot(analysis, "batch-8", TPOT)
    assert comparison.high > 5
    assert plot.chart.y.limits[1] < 2 * max(1.1, *comparison.ratios.values())
    assert plot.lede.endswith("Intervals extend beyond the axis.")


def test_shape_and_colour_both_show_the_verdict(exact):
    [_, faster, _] = ratio_plot(exact, "batch-8", OUTPUT_TOKENS_PER_S).chart.marks
    [_, same, _] = ratio_plot(exact, "single-request", TPOT).chart.marks
    assert faster.symbol != same.symbol
    assert faster.colour != same.colour


def test_a_missing_quantity_is_a_reason_instead_of_a_plot(tmp_path):
    analysis = analysed(tmp_path, Example(energy="modelled", workloads=SMALL, blocks=2))
    plot = ratio_plot(analysis, "batch-8", JOULES)
    assert (plot.chart, plot.absent) == (None, NO_METER)
    assert ratio_plot(analysis, "batch-8", MODELLED_JOULES).chart is not None


def test_without_a_baseline_there_is_no_ratio_to_plot(tmp_path):
    missing = frozenset((b, 1024, w.name) for b in range(2) for w in SMALL)
    analysis = analysed(tmp_path, Example(workloads=SMALL, blocks=2, missing=missing))
    assert ratio_plot(analysis, "batch-8", TPOT).absent == "no block has both this configuration and the baseline"
    assert order_plot(analysis, "batch-8").chart is not None


def test_a_distribution_goes_through_the_percentiles_of_all_requests(tmp_path):
    analysis = analysed(tmp_path, Example(noise=0.05, workloads=SMALL, widths=(1024, 512), blocks=2))
    cell = analysis.cell("width-512", "batch-8")
    line = distribution_plot(analysis, "batch-8", "ttft_ms").chart.marks[-1]
    assert line.name == "width 512"
    at = dict(zip(line.y, line.x, strict=True))
    assert at[0.5] == pytest.approx(cell.percentiles["ttft_ms"][0].value, rel=1e-5)
    assert line.x == sorted(line.x)


def test_quality_stands_against_joules_where_they_were_measured_and_time_where_not(tmp_path, exact):
    modelled = analysed(tmp_path, Example(energy="modelled", workloads=SMALL, blocks=2))
    assert perplexity_plot(exact, "batch-8").title == "batch-8: perplexity against J/output token"
    assert perplexity_plot(modelled, "batch-8").title == "batch-8: perplexity against TPOT"


def test_only_configurations_that_none_beats_are_filled(exact):
    """Single requests cost nearly the same at every width, so that only joules decide between them."""
    [front, unbeaten, beaten] = perplexity_plot(exact, "batch-8").chart.marks
    assert (len(front.x), len(unbeaten.x), len(beaten.x)) == (5, 5, 0)
    assert perplexity_plot(exact, "batch-8").alt.endswith("width 1024, width 896, width 768, width 640 and width 512.")


def test_a_cost_that_stands_against_perplexity_has_its_interval_over_blocks(tmp_path):
    noisy = analysed(tmp_path, Example(workloads=SMALL, blocks=3, noise=0.02))
    _, filled, _ = perplexity_plot(noisy, "batch-8").chart.marks
    assert all(low < x < high for low, x, high in zip(filled.x_low, filled.x, filled.x_high, strict=True))


def test_one_block_has_a_cost_without_an_interval(tmp_path):
    single = analysed(tmp_path, Example(workloads=SMALL, blocks=1))
    assert perplexity_plot(single, "batch-8").chart.marks[1].x_low == [None] * 5


def test_without_quality_there_is_no_plot_against_cost(tmp_path):
    analysis = analysed(tmp_path, Example(workloads=SMALL, blocks=1, quality=False))
    assert perplexity_plot(analysis, "batch-8").absent == "no configuration has both a perplexity and this cost"


def test_trials_stand_in_the_order_of_the_run_with_lines_between_blocks(exact):
    chart = order_plot(exact, "batch-8").chart
    assert all(list(marks.x) == sorted(marks.x) for marks in chart.marks)
    assert [rule.at for rule in chart.rules if rule.axis == "x"] == [10.5, 20.5, 30.5, 40.5]
