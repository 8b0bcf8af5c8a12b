"""Quality tasks: their scores against cost, fragile and robust tasks, and the cost of the evaluation."""

from __future__ import annotations

from collections.abc import Callable

from base.figures import figure, percent
from reports.analysis.quality.tasks import ROBUST, Group, QualityFigures, TaskFigures
from reports.analysis.records import Analysis
from reports.decision.quality_evidence import guessed_tasks, why_guessing
from reports.document.blocks import Block, Entry, Fold, Heading, Plots, Prose, Row, Section, Table, columns, note_letter
from reports.document.wording import ABSENT, PER_CELL, listed, name, or_absent, sentence, with_interval
from reports.sections.plots.pareto import score_plots
from reports.sections.plots.retention import retention_plot
from reports.statistics.ratios import Comparison

_GROUPS: tuple[tuple[Group, str], ...] = (
    ("fragile", "Fragile: the score falls with the width"),
    ("robust", "Robust: the score does not fall with the width, or only slightly"),
    ("undecided", "Undecided: too few items or widths to decide"),
)
_LOSS = (
    "Loss: the share of the baseline's score lost for each tenth of the width cut, from a straight line through all widths, with its "
    f"95 % interval over items. Robust: the interval lies below {percent(ROBUST)}. Fragile: the interval lies above 0. A straight line does "
    "not show a cliff; the plots do."
)


def tasks_section(analysis: Analysis) -> Section | None:
    """Quality tasks of every configuration and their cost; None if the run has none."""
    quality = analysis.quality
    if quality is None:
        return None
    blocks: list[Block] = [Prose(_method(quality), "lede"), _scores(analysis, quality)]
    if any(t.scores for t in quality.tasks):
        blocks += [Heading("Quality against cost"), Plots(score_plots(analysis, quality))]
    blocks += [
        Heading("Fragile and robust tasks"),
        Prose(_groups(quality)),
        Prose(_LOSS, "fine"),
        _slopes(quality),
    ]
    plots = [retention_plot(analysis, quality, group, title) for group, title in _GROUPS]
    blocks += [
        Plots([plot for plot in plots if plot is not None]),
        Heading("Cost of the evaluation"),
        _costs(analysis, quality),
    ]
    blocks.append(
        Fold("Correlations of scores with each other, with the width and with cost", [_correlations(quality)])
    )
    return Section("tasks", f"What each {analysis.noun} still knows", blocks)


def _method(quality: QualityFigures) -> str:
    settings = quality.settings
    if settings is None:
        return ""
    backend = "the served endpoint" if settings.backend == "endpoint" else "lm-eval's own HF backend"
    limit = f", at most {settings.limit} items each" if settings.limit else ""
    template = ", through the chat template" if settings.chat_template else ""
    return (
        f"{settings.harness} queried {backend}, once for each configuration and outside every energy window{limit}{template}. "
        "Beneath a score: the share of the baseline's score that is kept, item by item, with its 95 % interval; beneath a perplexity, "
        "the baseline's over its own."
    )


def _scores(analysis: Analysis, quality: QualityFigures) -> Table:
    tasks = [(t.task, f"{t.metric} {'↑' if t.higher_is_better else '↓'}") for t in quality.tasks]
    share = ("Mean share kept", f"of {len(quality.overall_tasks)} tasks")
    headings = columns("Configuration", "Ratio", share, *tasks)
    notes: dict[str, str] = {}
    rows = []
    for info in (c.info for c in analysis.configurations):
        overall = quality.overall.get(info.label)
        entries = [Entry(name(info)), Entry(or_absent(info.expansion_ratio, ".2f"))]
        if overall is None or overall.ratio is None:
            entries.append(Entry(ABSENT))
        else:
            entries.append(Entry(_share_kept(overall), with_interval(overall), overall.verdict))
        for task in quality.tasks:
            score = task.scores[info.label]
            reference = task.scores.get(analysis.info.baseline)
            noise = why_guessing(task, score, reference) if score.kept and reference else None
            note = note_letter(score.reason or noise, notes)
            if score.value is None:
                entries.append(Entry(ABSENT, note=note))
                continue
            error = "" if score.standard_error is None else f" ± {figure(score.standard_error)}"
            kept = score.kept
            entries.append(
                Entry(
                    f"{figure(score.value)}{error}",
                    with_interval(kept) if kept else None,
                    kept.verdict if kept and not noise else None,
                    note,
                )
            )
        rows.append(Row(entries, info.is_baseline))
    reused = (
        f"{count} results are of earlier runs with the same weights, tokenizer, engine and settings."
        if (count := quality.reused)
        else None
    )
    remarks = [PER_CELL, *_noise(analysis, quality), *([reused] if reused else [])]
    return Table("Scores with their standard errors.", headings, rows, notes, remarks)


def _share_kept(overall: Comparison) -> str:
    """The mean share kept, unless its interval holds the baseline's own: the mean is then no finding."""
    if overall.low is not None and overall.high is not None and overall.low <= 1 <= overall.high:
        return "no difference shown"
    return percent(overall.ratio or 0.0)


def _noise(analysis: Analysis, quality: QualityFigures) -> list[str]:
    """A remark on tasks at which the baseline guesses."""
    tasks = guessed_tasks(quality, analysis.info.baseline)
    if not tasks:
        return []
    text = f"The baseline is not distinguishable from guessing on {listed(tasks)}: a share of that score is noise"
    return [f"{text}, and so is a mean of shares that includes it."]


def _groups(quality: QualityFigures) -> str:
    """The tasks of each group, in a sentence."""
    parts = []
    for group, _ in _GROUPS:
        names = [t.task for t in quality.tasks if t.group == group]
        if names:
            parts.append(f"{group}: {listed(names)}")
    return sentence("; ".join(parts))


def _slopes(quality: QualityFigures) -> Table:
    headings = columns("Task", "Group", "Loss per tenth", "95 % interval", "Items", "Examples", "Version")
    order = [group for group, _ in _GROUPS]
    notes: dict[str, str] = {}
    rows = []
    for t in sorted(quality.tasks, key=lambda t: (order.index(t.group), -(t.loss or 0))):
        loss = ABSENT if t.loss is None else percent(t.loss, signed=True)
        ends = _interval(t.loss_low, t.loss_high, lambda loss: percent(loss, signed=True))
        rows.append(
            Row(
                [
                    Entry(t.task),
                    Entry(t.group),
                    Entry(loss, note=note_letter(t.loss_reason, notes)),
                    Entry(ends),
                    Entry(f"{t.items:,}"),
                    Entry(ABSENT if t.shots is None else str(t.shots)),
                    Entry(t.version or ABSENT),
                ]
            )
        )
    return Table("The loss of each task per tenth of the width cut.", headings, rows, notes)


def _costs(analysis: Analysis, quality: QualityFigures) -> Table:
    """Time and energy of the whole suite, and joules per right answer."""
    counted = [t for t in quality.tasks if any(_has_joules(t, c.info.label) for c in analysis.configurations)]
    modelled = any(cost.modelled_joules is not None for cost in quality.costs.values())
    headings = columns(
        "Configuration",
        "Hours",
        ("Tokens", "counted by the server"),
        ("J", "whole suite"),
        "J/token",
        *([("Modelled J", "not measured")] if modelled else []),
        *(f"J per right answer: {t.task}" for t in counted),
        *((f"Modelled J per right answer: {t.task}", "not measured") for t in counted if modelled),
    )
    notes: dict[str, str] = {}
    rows = []
    for info in (c.info for c in analysis.configurations):
        cost = quality.costs.get(info.label)
        if cost is None:
            rows.append(Row([Entry(name(info)), *[Entry(ABSENT)] * (len(headings) - 1)], info.is_baseline))
            continue
        entries = [
            Entry(name(info)),
            Entry(figure(cost.hours)),
            Entry(ABSENT if cost.tokens is None else f"{cost.tokens:,}"),
            Entry(_uncertain(cost.joules, cost.joules_uncertainty), note=note_letter(cost.reason, notes)),
            Entry(_uncertain(cost.joules_per_token, cost.joules_per_token_uncertainty)),
        ]
        entries += [Entry(or_absent(cost.modelled_joules))] if modelled else []
        scores = [t.scores[info.label] for t in counted]
        entries += [
            Entry(
                _uncertain(s.joules_per_correct, s.joules_per_correct_uncertainty),
                note=note_letter(s.joules_reason, notes),
            )
            for s in scores
        ]
        entries += [Entry(or_absent(s.modelled_joules_per_correct)) for s in scores] if modelled else []
        rows.append(Row(entries, info.is_baseline))
    bases = sorted({c.modelled_basis for c in quality.costs.values() if c.modelled_basis})
    remarks = [f"Modelled joules are {'; '.join(bases)}: an assumption, not a measurement."] if bases else []
    sources = sorted({c.source for c in quality.costs.values() if c.source})
    caption = "Time and energy from the first question to the last score"
    caption += f"; joules from {listed(sources)}, ± the meters' 95 % half-width." if sources else "."
    return Table(caption, headings, rows, notes, remarks)


def _has_joules(task: TaskFigures, label: str) -> bool:
    score = task.scores[label]
    return score.joules_per_correct is not None or score.modelled_joules_per_correct is not None


def _correlations(quality: QualityFigures) -> Table:
    headings = columns("Pair", "n", "Pearson r", "95 % interval", "p, Holm", "Spearman rho", "p, Holm")
    notes: dict[str, str] = {}
    rows = []
    for pair, found in quality.correlations.items():
        ends = _interval(found.pearson_low, found.pearson_high, "{:.2f}".format)
        rows.append(
            Row(
                [
                    Entry(pair, note=note_letter(found.reason, notes)),
                    Entry(str(found.n)),
                    Entry(or_absent(found.pearson, ".2f")),
                    Entry(ends),
                    Entry(or_absent(found.pearson_p_holm, ".3f")),
                    Entry(or_absent(found.spearman, ".2f")),
                    Entry(or_absent(found.spearman_p_holm, ".3f")),
                ]
            )
        )
    remark = "Over configurations, which differ in width alone: two scores that both fall with it correlate whatever else they share."
    return Table("Correlations over the configurations.", headings, rows, notes, [remark])


def _interval(low: float | None, high: float | None, write: Callable[[float], str]) -> str:
    return ABSENT if low is None or high is None else f"{write(low)} to {write(high)}"


def _uncertain(value: float | None, half_width: float | None) -> str:
    return or_absent(value) + ("" if value is None or half_width is None else f" ± {figure(half_width)}")
