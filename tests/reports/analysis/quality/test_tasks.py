"""Quality tasks in the report: what is written into a run folder comes out joined to what each width costs."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from energy.records import WindowEnergy
from reports.analysis.analyse import analyse_folder
from reports.analysis.records import Analysis
from reports.build import build_report
from reports.document.blocks import Plots, Table
from reports.document.wording import TO
from reports.runs.records.quality import TaskResult
from reports.sections.plots.pareto import pareto_front
from reports.sections.quality.tasks import tasks_section
from tests.reports.example_run import Example, window_energy, write_run
from tests.reports.statistics.test_retention import accuracy, perplexity

ITEMS = 400
KNOWLEDGE, FORM, TEXT = "knowledge", "form", "text"


def answers_of(width: int, widest: int) -> list[TaskResult]:
    """Knowledge falls by six tenths with all of the width; form stays as it is; perplexity doubles."""
    cut = 1 - width / widest
    items = np.random.default_rng(1).uniform(size=(2, ITEMS))  # the same for every width
    logs = -np.random.default_rng(2).uniform(20, 40, 50) - 10 * 0.7 * cut
    found = [
        accuracy(items[0] < 0.8 * (1 - 0.6 * cut), task=KNOWLEDGE),
        accuracy(items[1] < 0.5, task=FORM),
        perplexity(logs, [10.0] * 50).model_copy(update={"task": TEXT}),
    ]
    return [result.model_copy(update={"seconds": 36.0, "tokens": 1000}) for result in found]


def write(path: Path, example: Example, *, energy: str = "nvml", failing: bool = False) -> Analysis:
    write_run(path, example)
    for width in example.widths:
        folder = path / "quality" / example.label(width)
        folder.mkdir(parents=True)
        for result in answers_of(width, example.widths[0]):
            metered = window_energy(energy, 100.0, 0, 36 * 10**9)
            own = result.model_copy(update={"energy": WindowEnergy.model_validate(metered.model_dump())})
            if failing and result.task == FORM:
                own = own.model_copy(update={"scores": [], "values": [], "reason": "its data set is out of reach"})
            (folder / f"{own.task}.json").write_text(own.model_dump_json())
    return analyse_folder(path)


@pytest.fixture(scope="module")
def analysis(tmp_path_factory) -> Analysis:
    return write(tmp_path_factory.mktemp("quality") / "run", Example())


def test_a_run_without_quality_tasks_says_nothing_of_them(tmp_path: Path):
    write_run(tmp_path / "run", Example(blocks=2))
    found = analyse_folder(tmp_path / "run")
    assert found.quality is None
    assert tasks_section(found) is None


def test_tasks_are_grouped_by_what_cutting_the_width_does_to_them(analysis: Analysis):
    assert analysis.quality
    groups = {t.task: t.group for t in analysis.quality.tasks}
    assert groups == {KNOWLEDGE: "fragile", FORM: "robust", TEXT: "fragile"}
    (knowledge,) = [t for t in analysis.quality.tasks if t.task == KNOWLEDGE]
    assert knowledge.loss_low is not None
    assert knowledge.loss_high is not None
    assert knowledge.loss_low < 0.06 < knowledge.loss_high


def test_scores_are_compared_with_the_baselines_item_by_item(analysis: Analysis):
    assert analysis.quality
    (text,) = [t for t in analysis.quality.tasks if t.task == TEXT]
    narrowest = text.scores["width-512"]
    assert text.scores["width-1024"].kept is None
    assert narrowest.kept
    assert narrowest.kept.ratio == pytest.approx(np.exp(-0.35))
    assert narrowest.kept.verdict == "worse"
    (form,) = [t for t in analysis.quality.tasks if t.task == FORM]
    assert form.scores["width-512"].kept
    assert form.scores["width-512"].kept.verdict == "equivalent"  # the same answers, item by item


def test_the_cost_of_tasks_is_summed_and_divided_by_right_answers(analysis: Analysis):
    assert analysis.quality
    cost = analysis.quality.costs["width-1024"]
    assert cost.joules == pytest.approx(3 * 3600)
    assert cost.joules_uncertainty == pytest.approx(3**0.5 * 0.003 * 3600)
    assert cost.hours == pytest.approx(0.03)
    assert cost.joules_per_token == pytest.approx(3.6)
    (form,) = [t for t in analysis.quality.tasks if t.task == FORM]
    score = form.scores["width-1024"]
    assert score.value
    assert score.joules_per_correct == pytest.approx(3600 / (ITEMS * score.value))
    assert score.joules_per_correct_uncertainty == pytest.approx(0.003 * score.joules_per_correct)
    assert cost.joules_per_token_uncertainty == pytest.approx(cost.joules_uncertainty / 3000)


def test_modelled_joules_of_tasks_are_separate(tmp_path: Path):
    found = write(tmp_path / "run", Example(blocks=2, energy="modelled"), energy="modelled")
    assert found.quality
    cost = found.quality.costs["width-1024"]
    assert (cost.joules, cost.joules_per_token) == (None, None)
    assert cost.reason
    assert cost.modelled_joules == pytest.approx(3 * 360)
    section = tasks_section(found)
    assert section
    (costs,) = [b for b in section.blocks if isinstance(b, Table) and "Hours" in [c.heading for c in b.columns]]
    headings = [c.heading for c in costs.columns]
    row = [entry.text for entry in costs.rows[0].entries]
    assert row[headings.index("J")] == "—"
    assert row[headings.index("Modelled J")] == "1,080"


def test_quality_is_drawn_against_measured_joules_or_tokens_a_second(analysis: Analysis, tmp_path: Path):
    unmeasured = write(tmp_path / "run", Example(blocks=2, energy="none"), energy="none")
    for found, axis in ((analysis, "J/output token, J"), (unmeasured, "Output tokens/s, tokens/s")):
        section = tasks_section(found)
        assert section
        plots = next(b for b in section.blocks if isinstance(b, Plots)).plots
        assert [p.chart.x.title for p in plots if p.chart] == [axis] * 2


def test_every_cost_on_the_front_has_its_interval(analysis: Analysis):
    section = tasks_section(analysis)
    assert section
    for plot in next(b for b in section.blocks if isinstance(b, Plots)).plots:
        assert plot.chart
        filled = next(m for m in plot.chart.marks if m.symbol == "circle")
        assert filled.x_low
        assert filled.x_high
        assert all(low <= x <= high for low, x, high in zip(filled.x_low, filled.x, filled.x_high, strict=True))
        assert re.search(rf"\([\d.]+{TO}[\d.]+\)", plot.alt)


@pytest.mark.usefixtures("blank_pictures")
def test_a_task_without_scores_leaves_its_reason_and_the_others_stand(tmp_path: Path):
    found = write(tmp_path / "run", Example(blocks=2), failing=True)
    assert found.quality
    assert found.quality.overall_tasks == [KNOWLEDGE, TEXT]
    text = build_report([tmp_path / "run"]).with_name("report.md").read_text()
    assert "its data set is out of reach" in text


def test_the_front_holds_undominated_configurations():
    points = [(1.0, 0.5), (2.0, 0.9), (3.0, 0.8), (4.0, 1.0), (2.0, 0.7)]
    assert pareto_front(points, lower_x_is_better=True) == [(1.0, 0.5), (2.0, 0.9), (4.0, 1.0)]
    assert pareto_front(points, lower_x_is_better=False) == [(4.0, 1.0)]


def test_scores_are_correlated_with_width_and_cost(analysis: Analysis):
    assert analysis.quality
    found = analysis.quality.correlations[f"{KNOWLEDGE} ~ expansion ratio"]
    assert found.pearson
    assert found.pearson > 0.99
    assert f"{KNOWLEDGE} ~ batch-8: J/output token" in analysis.quality.correlations
    assert f"{KNOWLEDGE} ~ {TEXT}" in analysis.quality.correlations


@pytest.mark.usefixtures("blank_pictures")
def test_the_report_has_it_all_as_data(analysis: Analysis, tmp_path: Path):
    write(tmp_path / "run", Example(blocks=2))
    page = build_report([tmp_path / "run"])
    (run,) = json.loads(page.with_name("report.json").read_text())["runs"]
    assert {t["task"] for t in run["quality"]["tasks"]} == {KNOWLEDGE, FORM, TEXT}
    assert "What each width still knows" in page.read_text()
