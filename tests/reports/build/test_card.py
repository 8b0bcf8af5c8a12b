"""The card: a decision, its intervals and its price on one picture, and nothing that was not given or measured."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from reports.analysis.analyse import analyse_folder
from reports.card import build_card, card_of
from reports.document.card import SIZE, lay_out
from reports.document.pictures import our_settings
from reports.errors import ReportError
from tests.reports.example_run import BATCH, SINGLE, Example, write_run

SMALL = (SINGLE.model_copy(update={"requests": 3}), BATCH.model_copy(update={"requests": 8}))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("card") / "run", Example(noise=0.01, workloads=SMALL))


@pytest.fixture(scope="module")
def analysis(run):
    return analyse_folder(run)


def outside(card):
    """Texts of a card that stick out of it or of each other."""
    with our_settings():
        figure = lay_out(card)
        figure.draw_without_rendering()
        boxes = [(text.get_text(), text.get_window_extent()) for text in figure.texts if not text.get_rotation()]
        rows = [(row.get_text(), row.get_window_extent()) for axes in figure.axes for row in axes.get_yticklabels()]
        legends = [axes.get_legend().get_window_extent() for axes in figure.axes if axes.get_legend()]
    out = [said for said, box in boxes + rows if box.x0 < 0 or box.x1 > SIZE[0] or box.y0 < 0 or box.y1 > SIZE[1]]
    crossed = [said for said, box in boxes if any(box.overlaps(legend) for legend in legends)]
    others = [
        (one, other)
        for n, (one, first) in enumerate(boxes)
        for other, second in boxes[n + 1 :]
        if first.padded(-2).overlaps(second.padded(-2))
    ]
    return out + crossed + others


def test_it_has_both_answers_with_their_charts_the_price_the_machine_and_the_date(analysis):
    card = card_of(analysis)
    assert [column.topic for column in card.columns] == ["For interactive use", "For batch work"]
    assert all(column.choice.startswith("Keep the baseline") and column.chart for column in card.columns)
    assert card.lines[0].startswith(
        "Price in quality: Perplexity is 1.45\N{MULTIPLICATION SIGN} the baseline's at width 896"
    )
    assert "Example GPU" in card.footer
    assert analysis.info.created_at[:10] in card.footer
    assert re.search(r"checks: \d+ pass, \d+ warn, 0 fail · prunebench$", card.footer)
    assert outside(card) == []


def test_configurations_that_failed_are_counted_beside_the_checks_none_of_which_they_fail(tmp_path):
    failed = frozenset((block, 512, workload.name) for block in range(5) for workload in SMALL)
    card = card_of(
        analyse_folder(write_run(tmp_path / "run", Example(workloads=SMALL, status="failed", failed=failed)))
    )
    assert re.search(
        r"checks: \d+ pass, \d+ warn, 0 fail · failed: 1 of 5 configurations, 10 cells · prunebench", card.footer
    )
    assert "width 512 failed in all 10 of its cells" in card.lines[0]
    assert all(column.chart.marks[-1].texts == ["failed"] for column in card.columns)
    assert outside(card) == []


def test_money_stands_there_only_with_prices_that_were_given(analysis):
    cell = analysis.cell("width-1024", "batch-8").values
    kwh = cell["joules_per_output_token"].median / 3.6
    free, energy, both = (
        card_of(analysis, **given).lines[-1] for given in ({}, {"price_kwh": 0.5}, {"price_kwh": 0.5, "gpu_hour": 2.0})
    )
    assert free == f"A million output tokens under batch-8: width 1024 {kwh:.3f} kWh."
    assert energy.endswith(f"costs {kwh * 0.5:.4f}, at 0.500 a kWh.")
    hours = 1e6 / cell["output_tokens_per_s"].median / 3600
    assert both.endswith(f"costs {kwh * 0.5 + 2 * hours:.2f}, at 0.500 a kWh and 2.00 a GPU hour.")


def test_long_names_and_many_rows_stay_inside(analysis):
    card = card_of(analysis)
    long = replace(card.columns[1], choice="Choose " + "a configuration with a name " * 4, why="It takes less. " * 30)
    chart = card.columns[0].chart
    names = [
        f"a treatment with a name that says it all, row {row}\n1.00x perplexity" for row, _ in enumerate(chart.y.names)
    ]
    named = replace(card.columns[0], chart=replace(chart, y=replace(chart.y, names=names)))
    assert outside(replace(card, kicker="k" * 400, columns=[long, card.columns[0]], lines=["word " * 200] * 2)) == []
    assert outside(replace(card, columns=[named, named])) == []


def test_it_is_1200_by_630_pixels_and_the_words_of_the_svg_are_text(run, tmp_path):
    svg, png = build_card(run, tmp_path / "mine.png", price_kwh=None, gpu_hour=None)
    assert (svg, png) == (tmp_path / "mine.svg", tmp_path / "mine.png")
    assert tuple(int.from_bytes(png.read_bytes()[at : at + 4]) for at in (16, 20)) == SIZE
    assert re.search(r'<svg [^>]*width="(\d+)" height="(\d+)"', svg.read_text()).groups() == tuple(map(str, SIZE))
    assert "Which configuration to serve?" in svg.read_text()
    again, _ = build_card(run, tmp_path / "again.svg", price_kwh=None, gpu_hour=None)
    assert again.read_bytes() == svg.read_bytes()


def test_simulated_figures_say_so_in_picture_and_name_and_advise_nothing(tmp_path):
    example = Example(workloads=SMALL, widths=(1024, 512), blocks=3, engine="synthetic")
    run = write_run(tmp_path / "run", example)
    svg, _ = build_card(run, price_kwh=None, gpu_hour=None)
    assert svg == run / "card-simulated.svg"
    card = card_of(analyse_folder(run))
    assert card.watermark == "simulated"
    assert [column.choice for column in card.columns] == ["No advice: simulated figures decide nothing"]


def test_without_what_draws_it_is_one_line(run, monkeypatch):
    monkeypatch.setattr("reports.card.can_draw", lambda: False)
    with pytest.raises(ReportError, match="--card: charts need matplotlib"):
        build_card(run, price_kwh=None, gpu_hour=None)


def test_its_smallest_print_has_six_pixels_where_the_card_is_400_wide(analysis):
    with our_settings():
        figure = lay_out(card_of(analysis))
        charts = [
            text
            for axes in figure.axes
            for text in (*axes.get_yticklabels(), *axes.get_xticklabels(), axes.xaxis.label)
        ]
    sizes = [text.get_fontsize() * figure.dpi / 72 for text in (*figure.texts, *charts) if text.get_text()]
    assert min(sizes) * 400 / SIZE[0] > 6
