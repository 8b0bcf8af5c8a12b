"""The published study as a report: the standing of its claims, and the figures behind it."""

from __future__ import annotations

from base.figures import figure, percent
from reports.document.blocks import (
    Answer,
    Answers,
    Article,
    Block,
    Entry,
    Finding,
    Findings,
    Fold,
    Plots,
    Prose,
    Row,
    Section,
    Table,
    columns,
    text_row,
)
from reports.document.wording import ABSENT, PER_CELL, sentence, with_interval
from reports.published.analysis import StudyAnalysis
from reports.published.claims.judging import STANDARDS, STANDINGS, ClaimResult, average_change, p_value, signed
from reports.published.efficiency import GROSS, LATENCY, LENGTH, NET, REQUEST, TOKEN_MS
from reports.published.plots import (
    correlation_plot,
    joules_plots,
    latency_plot,
    odd_plot,
    quality_plots,
    token_time_plots,
)
from reports.published.study import RUNS, Study
from reports.published.versions import versions_section

_TABLE = ((NET, "Net J/token"), (GROSS, "Gross J/token"), (REQUEST, "Net J/prompt"), (TOKEN_MS, "Time per token"), (LATENCY, "Latency"), (LENGTH, "Output tokens"))  # fmt: skip

_SOURCES = (
    "Published: the repository's means over the runs that its authors kept, and their change. Ratios: from the raw runs "
    f"({RUNS}), none left out, within runs of the same prompts. Where runs were left out they differ."
)


def study_article(study: Study, analysis: StudyAnalysis, version: str) -> Article:
    """The whole report."""
    runs = f"{len(study.runs)} raw runs" if study.raw else "published means, without raw runs"
    return Article(
        id="published",
        title=str(study.source.get("title", "The published study")),
        kicker=f"prunebench {version} · a published study, re-analysed",
        subtitle=f"arXiv {study.source.get('arxiv', '?')} · {study.hardware.get('gpu', 'an unnamed GPU')} · {runs}",
        sections=[
            versions_section(study, analysis),
            _answer(analysis),
            _limits(analysis),
            _quality(study, analysis),
            _energy(study, analysis),
            _latency(study, analysis),
            _alignment(analysis),
            _figures(analysis),
            _again(study),
        ],
    )


def _answer(analysis: StudyAnalysis) -> Section:
    answers = [
        Answer(
            claim.says,
            claim.because,
            choice=sentence(claim.standing),
            checks=_judged_by(claim, analysis),
        )
        for claim in analysis.claims
    ]
    blocks: list[Block] = []
    if not analysis.facts.raw:
        blocks.append(
            Prose(
                "Without the raw runs there are no intervals, and the unit of energy cannot be checked: pass --data.",
                "alert",
            )
        )
    fine = (
        "Ratios are to the unpruned width within runs of the same prompts, averaged as logarithms, with 95 % t intervals, judged at a "
        f"margin of {100 * analysis.facts.margin:.3g} %; no run is left out. A score's interval treats each question as an independent draw. "
        "A claim survives if all examined cells agree with it by its standard, in part if some do."
    )
    return Section("answer", "The answer", [*blocks, Answers(answers), _standards(analysis), Prose(fine, "fine")])


def _judged_by(claim: ClaimResult, analysis: StudyAnalysis) -> str | None:
    parts = [f"Made by {claim.in_versions(analysis.versions)}."] if claim.fate else []
    parts += [] if claim.standard is None else [f"Judged by: {STANDARDS[claim.standard]} ({claim.standard})."]
    if claim.reproduced is not None:
        parts.append(
            f"Its published figures {'follow' if claim.reproduced else 'do not follow'} from its published data."
        )
    return " ".join(parts) or None


def _standards(analysis: StudyAnalysis) -> Table:
    rows = [
        text_row(found.standard, found.asks, *(str(found.standings.get(s, 0)) for s in STANDINGS))
        for found in analysis.standards
    ]
    headings = columns("Standard", "Requirement", *STANDINGS)
    return Table(
        "Claims by the standard that they were judged by; the standards differ in what they require, so the rows do not add up.",
        headings,
        rows,
    )


def _limits(analysis: StudyAnalysis) -> Section:
    found = [Finding(c.outcome, c.check, sentence(c.seen), c.remedy, c.meaning) for c in analysis.checks]
    return Section("limits", "Results of our checks", [Findings(found)])


def _quality(study: Study, analysis: StudyAnalysis) -> Section:
    facts = analysis.facts
    associations = Table(
        "MMLU against TruthfulQA-MC2 over the widths of a model; corrected: Holm over the models.",
        columns("Model", "n", "Pearson r", "p", "p corrected", "Spearman rho", "p exact"),
        [
            text_row(a.model, str(c.n), signed(c.pearson), p_value(c.pearson_p), p_value(c.pearson_p_holm), signed(c.spearman), p_value(c.spearman_p))
            for a in facts.associations
            for c in [a.correlation]
        ],
    )  # fmt: skip
    changes = Table(
        "Change of a score against the unpruned width; p two-sided, corrected by Holm over the widths of base or instructed models.",
        columns("Width", "Metric", "Score", "Change", "p", "p corrected"),
        [
            Row([
                Entry(f"{c.model} {c.width}"), Entry(metric), Entry(f"{c.value:.4f}"),
                Entry(percent(c.change, signed=True), with_interval(c.ratio), c.ratio.verdict), Entry(p_value(c.p)), Entry(p_value(c.p_holm)),
            ])
            for metric, found in facts.changes.items()
            for c in found
        ],
    )  # fmt: skip
    return Section(
        "quality",
        "Quality against expansion ratio",
        [
            Plots(quality_plots(study), abreast=3),
            Plots([correlation_plot(study, facts)], abreast=1),
            associations,
            Fold("Every change of a score", [changes]),
        ],
    )


def _energy(study: Study, analysis: StudyAnalysis) -> Section:
    lede = "Claimed net joules per token, as a ratio to the unpruned width; bars are 95 % intervals, where the raw runs are given."
    return Section("energy", "J/token", [Prose(lede, "lede"), Plots(joules_plots(study, analysis.facts))])


def _latency(study: Study, analysis: StudyAnalysis) -> Section:
    return Section(
        "latency",
        "Latency and its parts",
        [Plots([latency_plot(analysis.facts)], abreast=1), Plots(token_time_plots(study, analysis.facts))],
    )


def _alignment(analysis: StudyAnalysis) -> Section:
    rows = [
        text_row(
            f"{a.odd or 'all'}, batch {a.batch_size}",
            str(a.pairs),
            f"{a.hungrier}",
            average_change(a.joules),
            f"{a.slower}",
            average_change(a.ms_per_token),
        )
        for a in analysis.facts.alignment
    ]
    headings = columns("Odd width", "Pairs", "Take more", "J/token", "Slower", "Time per token")
    blocks: list[Block] = [Plots([odd_plot(analysis.facts)], abreast=1)]
    if rows:
        blocks.append(
            Table("Each odd width against the even one next above it, over models and workloads.", headings, rows)
        )
    return Section("alignment", "Odd widths", blocks)


def _figures(analysis: StudyAnalysis) -> Section:
    tables = []
    cells = analysis.facts.cells
    sources = [_SOURCES] if analysis.facts.raw else []
    for model in dict.fromkeys(c.model for c in cells):
        rows = [
            Row([
                Entry(f"{c.workload} {c.width}"), Entry(c.kept_in_words),
                Entry(figure(c.published[NET]), percent(c.published_change, signed=True)),
                *(Entry(with_interval(c.ratios[key]) or ABSENT, verdict=c.ratios[key].verdict) for key, _ in _TABLE),
            ])
            for c in cells
            if c.model == model
        ]  # fmt: skip
        headings = columns(
            "Workload, width", "Runs kept", ("Published", "claimed J/token"), *(heading for _, heading in _TABLE)
        )
        tables.append(Table(f"{model}: ratios to the unpruned width.", headings, rows, remarks=[PER_CELL, *sources]))
    return Section("figures", "Every cell", [Fold("Ratios, cell by cell", tables)])


def _again(study: Study) -> Section:
    facts = [(key, str(value)) for key, value in study.source.items()] + [
        (key, str(value)) for key, value in study.hardware.items() if not isinstance(value, dict)
    ]
    table = Table("The source of the figures.", columns("Fact", "Value"), [text_row(*f) for f in facts], kind="text")
    how = "prunebench published writes this report from the shipped table; --data DIR adds the raw runs."
    return Section("again", "How to reproduce it", [Prose(how), table])
