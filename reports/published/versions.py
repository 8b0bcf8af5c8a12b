"""The report's section that sets the study's versions side by side: what each claims, what became of it, and IFEval by width."""

from __future__ import annotations

from collections import Counter

from base.figures import percent
from reports.document.blocks import Column, Entry, Prose, Row, Section, Table, columns, text_row
from reports.document.wording import ABSENT
from reports.published.analysis import StudyAnalysis
from reports.published.claims.judging import STANDINGS, ClaimResult, below
from reports.published.quality import Change
from reports.published.study import Study
from reports.statistics.ratios import Verdict


def versions_section(study: Study, analysis: StudyAnalysis) -> Section:
    """What stood, what is gone, and what the repository's own scores are."""
    scores = _ifeval(study, analysis)
    return Section(
        "versions",
        "What each version claims",
        [Prose(_fates(analysis), "lede"), _claims(analysis), *([scores] if scores.rows else []), _sources(study)],
    )


def _fates(analysis: StudyAnalysis) -> str:
    papers = [version.id for version in analysis.versions if version.kind == "paper"]
    by_fate = {fate: [c for c in analysis.claims if c.fate == fate] for fate in ("kept", "gone", "new")}
    kept, gone, new = by_fate.values()
    return (
        f"Of {len(kept) + len(gone)} claims of the abstracts before {papers[-1]}, {len(kept)} are in it and {len(gone)} are gone; "
        f"{len(new)} {'is' if len(new) == 1 else 'are'} new. Of those in {papers[-1]}: {_standings([*kept, *new])}. Of those gone: {_standings(gone)}."
    )


def _standings(claims: list[ClaimResult]) -> str:
    counted = Counter(claim.standing for claim in claims)
    words = {s: s if counted[s] == 1 else s.replace("survives", "survive").replace("does", "do") for s in counted}
    return ", ".join(f"{counted[s]} {words[s]}" for s in (*STANDINGS, "cannot be decided") if counted[s]) or "none"


def _claims(analysis: StudyAnalysis) -> Table:
    rows = [
        Row([
            Entry(claim.says),
            *(Entry(claim.stated.get(version.id, ABSENT)) for version in analysis.versions),
            Entry(claim.standing, claim.standard),
        ])
        for claim in sorted(analysis.claims, key=lambda claim: claim.fate == "gone")
    ]  # fmt: skip
    headings = [
        Column("Claim"),
        *(Column(version.id, version.date or "date not known") for version in analysis.versions),
        Column("Standing", "by standard"),
    ]
    caption = "A dash: the abstract, or the repository's README and results, do not say it. Claims that the last version dropped come last."
    return Table(caption, headings, rows, kind="text")


def _ifeval(study: Study, analysis: StudyAnalysis) -> Table:
    """The repository's scores, by the share that was pruned."""
    changes = {(c.model, c.width): c for c in analysis.facts.changes["ifeval"]}
    models = [m for m in study.models if any(v is not None for v in m.metric("ifeval"))]
    by_width = {(m.model, c.intermediate_size): c for m in models for c in m.configurations}
    rows = [
        Row(
            [
                Entry(
                    str(width),
                    f"{max(c.pruning_percentage for (_, w), c in by_width.items() if w == width):g} % pruned",
                ),
                *(
                    _score(one.quality.get("ifeval") if one else None, changes.get((m.model, width)))
                    for m in models
                    for one in [by_width.get((m.model, width))]
                ),
            ],
            is_baseline=width == max(w for _, w in by_width),
        )
        for width in sorted({width for _, width in by_width}, reverse=True)
    ]
    files = [f"{m.model}: {study.files[m.model]}" for m in models if m.model in study.files]
    commit = str(study.source.get("commit", ""))
    sources = [f"Files of the repository at {commit:.7}: {'; '.join(files)}."] if files else []
    return Table(
        "IFEval, prompt-level strict accuracy, one evaluation a score, and its change against the unpruned width; better and worse are beyond "
        "chance, p below 0.05 by Holm over the widths of base or of instructed models.",
        columns("Width", *(m.model for m in models)),
        rows,
        remarks=sources,
    )


def _score(value: float | None, change: Change | None) -> Entry:
    if value is None:
        return Entry(ABSENT)
    if change is None:
        return Entry(f"{value:.4f}")
    verdict: Verdict = "undecided" if not below(change.p_holm) else "better" if change.change > 0 else "worse"
    return Entry(f"{value:.4f}", percent(change.change, signed=True), verdict)


def _sources(study: Study) -> Table:
    return Table(
        "The versions, their names for the score by which neurons were chosen, and where they can be read.",
        columns("Version", "Date", "Criterion", "Read", "At"),
        [text_row(v.id, v.date or ABSENT, v.criterion, v.source, " ".join(v.copies)) for v in study.versions],
        remarks=study.remarks,
        kind="text",
    )
