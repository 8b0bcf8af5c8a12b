"""Articles as Markdown: the same sections as the page, with external text escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from reports.checks.rules import Outcome
from reports.document.blocks import (
    SIGNS,
    Answer,
    Answers,
    Article,
    Block,
    Code,
    Entry,
    Findings,
    Fold,
    Heading,
    Items,
    Plot,
    Plots,
    Prose,
    Table,
    Tally,
)
from reports.document.wording import sentence

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~])")


def render_markdown(articles: Sequence[Article], pictures: str | None) -> str:
    """One or more articles in sequence.

    `pictures` is the folder of their plots as SVG, relative to the Markdown file. None: the plots' descriptions stand in their place.
    """
    return "\n\n".join(_article(article, pictures) for article in articles) + "\n"


def _article(article: Article, pictures: str | None) -> str:
    files = {id(plot): pictures and f"{pictures}/{plot_id}.svg" for plot_id, plot, _ in article.plots()}
    parts = [f"# {plain(article.title)}", plain(article.subtitle)]
    for section in article.sections:
        parts += [f"## {plain(section.title)}", *_blocks(section.blocks, files)]
    if article.commands:
        parts.append(_list(f"{plain(made)}: {_inline_code(command)}" for made, command in article.commands))
    return "\n\n".join(parts)


def _inline_code(text: str) -> str:
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{ticks}{' '.join(text.split())}{ticks}"


def _blocks(blocks: Iterable[Block], files: Mapping[int, str | None]) -> list[str]:
    return [text for block in blocks if (text := _block(block, files))]


def _block(block: Block, files: Mapping[int, str | None]) -> str:
    match block:
        case Prose(text, kind):
            found = f"**{plain(text)}**" if kind == "alert" else plain(text)
        case Heading(text):
            found = f"### {plain(text)}"
        case Items(items):
            found = _list(plain(item) for item in items)
        case Code():
            found = _code(block)
        case Answers(answers):
            found = "\n\n".join(_answer(answer, files) for answer in answers)
        case Findings():
            found = _findings(block)
        case Tally(outcomes):
            found = _tally(outcomes)
        case Table():
            found = _table(block)
        case Plots(plots):
            found = "\n\n".join(_plot(plot, files[id(plot)]) for plot in plots)
        case Fold(title, inner):
            found = "\n\n".join([f"### {plain(title)}", *_blocks(inner, files)])
    return found


def _answer(answer: Answer, files: Mapping[int, str | None]) -> str:
    texts = [answer.choice and sentence(answer.choice), *answer.sentences, answer.checks]
    words = " ".join([f"**{plain(answer.topic)}:**", *(plain(text) for text in texts if text)])
    return f"{words}\n\n{_plot(answer.plot, files[id(answer.plot)])}" if answer.plot else words


def _tally(outcomes: Mapping[Outcome, Sequence[str]]) -> str:
    named = {"warn", "fail"}
    parts = [
        f"{len(names)} {outcome}" + (f" ({plain(', '.join(names))})" if names and outcome in named else "")
        for outcome, names in outcomes.items()
    ]
    return f"**Checks:** {', '.join(parts)}"


def _plot(plot: Plot, file: str | None) -> str:
    """A picture with its title, its lede and its text alternative."""
    if plot.chart is None:
        return f"**{plain(plot.title)}** — no plot: {plain(sentence(plot.absent or ''))}"
    words = f"**{plain(plot.title)}** — {plain(plot.lede)}"
    return f"{words}\n\n![{plain(plot.alt)}](<{file}>)" if file else f"{words}\n\n{plain(plot.alt)}"


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _code(code: Code) -> str:
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", code.text)), default=0))
    return f"{fence}{code.language}\n{code.text.rstrip()}\n{fence}"


def _findings(block: Findings) -> str:
    if block.folded:
        return _rows(["Check", "Outcome", "Seen"], [[plain(f.name), f.outcome, plain(f.seen)] for f in block.findings])
    return _list(
        f"**{plain(f.name)}** ({f.outcome}): {plain(f.seen)} {plain(f.remedy)}".strip() for f in block.findings
    )


def _table(table: Table) -> str:
    heads = [f"{c.heading} ({c.unit})" if c.unit else c.heading for c in table.columns]
    rows = [[_entry(entry) for entry in row.entries] for row in table.rows]
    notes = [f"[{letter}] {reason}" for letter, reason in table.notes.items()] + list(table.remarks)
    parts = [plain(table.caption), _rows([plain(head) for head in heads], rows), _list(plain(note) for note in notes)]
    return "\n\n".join(part for part in parts if part)


def _entry(entry: Entry) -> str:
    sign = SIGNS[entry.verdict] if entry.verdict else ""
    note = f"[{entry.note}]" if entry.note else ""
    return plain(" ".join(part for part in (entry.text, entry.change or "", sign, note) if part))


def _rows(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plain(text: str) -> str:
    """One line, with all characters escaped that are markup in Markdown or HTML."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
