"""The report as Markdown: the same answer, checks and tables, without plots."""

from __future__ import annotations

import re
from collections.abc import Sequence

from reports.analysis import Analysis
from reports.answers import answers, progress
from reports.overview import environment_rows, limits, subtitle, summary
from reports.table import SIGNS, Entry, WorkloadTable, workload_tables
from reports.wording import sentence

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~])")


def render_markdown(analyses: Sequence[Analysis]) -> str:
    """One or more runs, one after another. Text from outside is escaped, so it stays text."""
    return "\n\n".join(_run(analysis) for analysis in analyses) + "\n"


def _run(analysis: Analysis) -> str:
    parts = [f"# {_plain(analysis.info.name)}", _plain(subtitle(analysis))]
    unfinished = progress(analysis)
    if unfinished:
        parts.append(f"**{_plain(unfinished)}**")
    parts += [f"**{_plain(a.topic)}:** {_plain(' '.join(a.sentences))}" for a in answers(analysis)]
    parts += _limits(analysis)
    for table in workload_tables(analysis):
        parts += _table(table)
    if analysis.energy_remedies:
        parts += [
            "## To measure joules",
            "\n".join(f"- {_plain(sentence(remedy))}" for remedy in analysis.energy_remedies),
        ]
    parts += [
        "## Every check",
        _rows(["Check", "Outcome", "Seen"], [[c.check, c.outcome, summary(c)] for c in analysis.checks]),
    ]
    if analysis.failures:
        failures = [[str(f.block + 1), f.label, f.workload, f.error] for f in analysis.failures]
        parts += ["## Failures", _rows(["Block", "Configuration", "Workload", "Error"], failures)]
    parts += ["## Environment", _rows(["", ""], [list(row) for row in environment_rows(analysis.environment)])]
    if analysis.experiment:
        fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", analysis.experiment)), default=0))
        parts += ["## Experiment", f"{fence}toml\n{analysis.experiment.rstrip()}\n{fence}"]
    return "\n\n".join(parts)


def _limits(analysis: Analysis) -> list[str]:
    found = limits(analysis)
    if not found:
        return []
    return [
        "## What limits this",
        "\n".join(f"- **{c.check}** ({c.outcome}): {_plain(summary(c))}. {c.remedy}" for c in found),
    ]


def _table(table: WorkloadTable) -> list[str]:
    heads = [f"{c.heading} ({c.unit})" if c.unit else c.heading for c in table.columns]
    rows = [[_entry(entry) for entry in row.entries] for row in table.rows]
    notes = [f"- [{letter}] {reason}" for letter, reason in table.notes.items()] + [f"- {r}" for r in table.remarks]
    parts = [f"## {_plain(table.workload)}", _plain(sentence(table.description)), _rows(heads, rows)]
    return [*parts, "\n".join("- " + _plain(note.removeprefix("- ")) for note in notes)] if notes else parts


def _entry(entry: Entry) -> str:
    sign = SIGNS[entry.verdict] if entry.verdict else ""
    note = f"[{entry.note}]" if entry.note else ""
    return " ".join(part for part in (entry.text, entry.change or "", sign, note) if part)


def _rows(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *([_plain(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(text: str) -> str:
    """On one line, with everything escaped that Markdown or HTML would read."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
