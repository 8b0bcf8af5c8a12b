"""The plots of the published study, from its table and from the facts found in it."""

from __future__ import annotations

from collections.abc import Sequence

from reports.document.blocks import Plot
from reports.document.chart import Axis, Chart, Marks, Rule, at_least, series_style
from reports.document.wording import times, with_interval
from reports.published.claims.judging import average_change
from reports.published.efficiency import LATENCY, LENGTH, NET, TOKEN_MS, Cell
from reports.published.facts import Facts
from reports.published.quality import KNOWLEDGE, TRUTHFULNESS
from reports.published.study import Study, StudyModel

SHOWN = ("mmlu", "truthfulqa_mc2", "ifeval", "musr")  # one for each colour of series
RATIO_AXIS = "expansion ratio"


def quality_plots(study: Study) -> list[Plot]:
    """Scores over the expansion ratio, a plot a model."""
    return [_scores(model) for model in study.models]


def _scores(model: StudyModel) -> Plot:
    marks: list[Marks] = []
    summary: list[str] = []
    for metric in SHOWN:
        first = model.configurations[0].quality.get(metric)
        points = [
            (c, value / first) for c in model.configurations if first and (value := c.quality.get(metric)) is not None
        ]
        if len(points) < 2:
            continue
        hover = [f"{metric} at width {c.intermediate_size}\n{times(ratio)} the unpruned score" for c, ratio in points]
        marks.append(_series([(c.expansion_ratio, r) for c, r in points], metric, len(marks), hover=hover, line=True))
        summary.append(f"{metric} {', '.join(times(r) for _, r in points[1:])}")
    if not marks:
        return Plot(model.model, absent="no metric was measured at two widths")
    drawn = [y for m in marks for y in m.y]
    chart = Chart(
        Axis(RATIO_AXIS), Axis("score / unpruned", at_least(0.9, 1.1, drawn), form="ratio"), marks, [Rule(1.0)]
    )
    return Plot(
        model.model,
        "Each score over that of the unpruned width.",
        f"{model.model}, from wide to narrow: {'; '.join(summary)}.",
        chart,
    )


def correlation_plot(study: Study, facts: Facts) -> Plot:
    """Knowledge against truthfulness, a series a model."""
    title = "MMLU against TruthfulQA-MC2"
    marks: list[Marks] = []
    for model in study.models:
        points = [
            (a, b, c.intermediate_size)
            for c in model.configurations
            if (a := c.quality.get(KNOWLEDGE)) is not None and (b := c.quality.get(TRUTHFULNESS)) is not None
        ]
        hover = [f"{model.model}, width {w}\nMMLU {a:.4f}\nTruthfulQA-MC2 {b:.4f}" for a, b, w in points]
        marks.append(_series([(a, b) for a, b, _ in points], model.model, len(marks), hover=hover))
    summary = [
        f"{a.model}: r {a.correlation.pearson:.3f}, p {a.correlation.pearson_p:.3f}, n {a.correlation.n}"
        for a in facts.associations
        if a.correlation.pearson is not None and a.correlation.pearson_p is not None
    ]
    chart = Chart(Axis("MMLU"), Axis("TruthfulQA-MC2"), marks, height=340)
    return Plot(
        title,
        "One point a width; the point at the right of each series is unpruned.",
        f"{title}. {'; '.join(summary)}.",
        chart,
    )


def joules_plots(study: Study, facts: Facts) -> list[Plot]:
    """Net J/token against the expansion ratio; the unit cancels in the ratio."""
    return _ratio_plots(
        study,
        facts,
        NET,
        "net J/token",
        "Lower is cheaper; the unit of the joules cancels. Wide intervals extend beyond the axis.",
    )


def token_time_plots(study: Study, facts: Facts) -> list[Plot]:
    """Time per token against the expansion ratio."""
    return _ratio_plots(study, facts, TOKEN_MS, "time per token", "Lower is faster.")


def _ratio_plots(study: Study, facts: Facts, key: str, noun: str, lede: str) -> list[Plot]:
    """A plot for each model and batch size, a series for each workload."""
    hidden = {m.model: m.hidden_size for m in study.models}
    plots = []
    for model in dict.fromkeys(c.model for c in facts.cells):
        for size in dict.fromkeys(c.batch_size for c in facts.cells):
            own = [
                c for c in facts.cells if (c.model, c.batch_size) == (model, size) and c.ratios[key].ratio is not None
            ]
            title = f"{model}, batch {size}: {noun}"
            if not own:
                plots.append(Plot(title, absent="no cell has it"))
                continue
            marks = [
                _workload([c for c in own if c.workload == workload], key, hidden.get(model, 1), number)
                for number, workload in enumerate(dict.fromkeys(c.workload for c in own))
            ]
            drawn = [c.ratios[key].ratio or 1 for c in own]
            # Three runs may give an interval so wide that it would flatten every ratio.
            limits = at_least(0.9, 1.1, [min(drawn) / 1.06, max(drawn) * 1.06])
            summary = [f"width {c.width}, {c.workload} {with_interval(c.ratios[key])}" for c in own]
            chart = Chart(Axis(RATIO_AXIS), Axis("ratio to unpruned", limits, form="ratio"), marks, [Rule(1.0)])
            plots.append(Plot(title, lede, f"{title}, ratio to the unpruned width: {'; '.join(summary)}.", chart))
    return plots


def _workload(cells: Sequence[Cell], key: str, hidden: int, number: int) -> Marks:
    found = [c.ratios[key] for c in cells]
    hover = [
        f"{c.workload}\nwidth {c.width}{', odd' if c.width % 2 else ''}\n{with_interval(f)}"
        for c, f in zip(cells, found, strict=True)
    ]
    # Offset, so that intervals at the same ratio do not overlap.
    points = [
        (c.width / hidden + 0.012 * (number - 1) * 8192 / hidden, f.ratio or 1)
        for c, f in zip(cells, found, strict=True)
    ]
    marks = _series(points, cells[0].workload, number, hover=hover)
    return Marks(
        marks.x, marks.y, marks.name, marks.colour, marks.symbol,
        low=[f.low for f in found], high=[f.high for f in found], hover=hover,
    )  # fmt: skip


def latency_plot(facts: Facts) -> Plot:
    """Latency against output length, single requests."""
    title = "Single requests: latency against output length"
    own = [c for c in facts.cells if c.batch_size == 1 and c.ratios[LATENCY].ratio and c.ratios[LENGTH].ratio]
    if not own:
        return Plot(title, absent="no single-request cell has a latency")
    marks: list[Marks] = []
    for model in dict.fromkeys(c.model for c in own):
        cells = [c for c in own if c.model == model]
        hover = [
            f"{c.place}\ntokens {with_interval(c.ratios[LENGTH])}\nlatency {with_interval(c.ratios[LATENCY])}"
            for c in cells
        ]
        points = [(c.ratios[LENGTH].ratio or 1, c.ratios[LATENCY].ratio or 1) for c in cells]
        marks.append(_series(points, model, len(marks), hover=hover))
    ends = [end for m in marks for end in (*m.x, *m.y)]
    low, high = min(ends) * 0.95, max(ends) * 1.05
    marks.append(Marks([low, high], [low, high], "latency in proportion to output", "muted", line="dash"))
    chart = Chart(
        Axis("output tokens, ratio to unpruned", (low, high), log=True),
        Axis("latency, ratio to unpruned", (low, high), log=True),
        marks,
        height=360,
    )
    r = facts.lengthening.correlation.pearson
    lede = "On the dashed line a request takes longer only because it generates more tokens."
    return Plot(title, lede, f"{title}: {len(own)} cells" + (f", r = {r:.4f} of the logarithms." if r else "."), chart)


def odd_plot(facts: Facts) -> Plot:
    """Odd widths over the next wider, even width."""
    title = "Odd widths against the next wider, even width"
    if not facts.odd_pairs:
        return Plot(title, absent="no odd width has an even one as its next wider")
    marks: list[Marks] = []
    for size in sorted({p.batch_size for p in facts.odd_pairs}):
        own = [p for p in facts.odd_pairs if p.batch_size == size]
        hover = [f"{p.model}, {p.workload}\n{p.odd} against {p.even}\n{times(p.joules)} J/token" for p in own]
        points = [(p.odd + 40.0 * (len(marks) - 0.5), p.joules) for p in own]
        marks.append(_series(points, f"batch {size}", len(marks), hover=hover))
    drawn = [p.joules for p in facts.odd_pairs]
    chart = Chart(
        Axis("odd width"), Axis("net J/token, odd / even", at_least(0.9, 1.1, drawn), form="ratio"), marks, [Rule(1.0)]
    )
    summary = [
        f"batch {a.batch_size}: {average_change(a.joules)} on average, more in {a.hungrier} of {a.pairs}"
        for a in facts.alignment
        if a.odd is None
    ]
    return Plot(title, "Above 1 the narrower, odd width takes more.", f"{title}: {'; '.join(summary)}.", chart)


def _series(
    points: Sequence[tuple[float, float]], label: str, number: int, *, hover: Sequence[str], line: bool = False
) -> Marks:
    return Marks(
        [x for x, _ in points],
        [y for _, y in points],
        label,
        *series_style(number),
        line="solid" if line else None,
        hover=hover,
    )
