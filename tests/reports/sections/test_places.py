"""Configurations that differ in more than pruning: a row each in plots, and not called widths."""

from reports.analysis.records import Analysis
from reports.decision.answers import answers
from reports.document.chart import Axis, Marks, Rule
from reports.document.markdown import render_markdown
from reports.sections.contents import run_article
from reports.sections.plots.places import Places


def treated(analysis: Analysis) -> Analysis:
    """The run as if its other configurations had other settings, the last of them at an address where no size is known."""
    baseline, *others = analysis.configurations
    unknown = dict.fromkeys(("width", "hidden_size", "expansion_ratio", "parameters", "checkpoint_bytes", "shape"))
    changed = [
        one.model_copy(
            update={
                "info": one.info.model_copy(
                    update={"pruned_alone": False, "treatment": {"options.a": f"a = {number}"}}
                    | (unknown if one is others[-1] else {})
                )
            }
        )
        for number, one in enumerate(others)
    ]
    return analysis.model_copy(update={"configurations": [baseline, *changed]})


def test_widths_stand_at_their_expansion_ratio(exact: Analysis):
    places = Places.of(exact)
    assert not places.names
    assert [*places.at.values()] == [c.info.expansion_ratio for c in exact.configurations]


def test_others_stand_in_rows_with_the_baseline_at_the_top_and_intervals_across(exact: Analysis):
    places = Places.of(treated(exact))
    last = len(exact.configurations) - 1
    assert places.at[exact.info.baseline] == last
    assert len(places.names) == last + 1
    marks = Marks([last], [1.2], low=[1.1], high=[1.3], line="solid")
    chart = places.chart(Axis("ratio"), [marks], Rule(1.0))
    (turned,) = chart.marks
    assert (turned.x, turned.y, turned.x_low, turned.line) == ([1.2], [last], [1.1], None)
    assert (chart.x.title, chart.rules[0].axis) == ("ratio", "x")


def test_the_report_says_what_is_compared_and_calls_it_configurations(exact: Analysis):
    analysis = treated(exact)
    text = render_markdown([run_article(analysis, "run")], None)
    assert "What is compared" in text
    assert "a = 0" in text
    assert "What is compared" not in render_markdown([run_article(exact, "run")], None)
    assert not [s for answer in answers(analysis) for s in answer.sentences if "No width" in s or "mildest cut" in s]
