"""The content of a report, independent of HTML and Markdown: sections of blocks with plain text.

A function builds a section from an `Analysis`. It returns None where the run has no data for the section:

    def quality_section(analysis: Analysis) -> Section | None:
        if not any(c.info.quality for c in analysis.configurations):
            return None
        return Section("quality", "Quality against cost", [
            Prose("Lower left is better.", "lede"),
            Plots([Plot("MMLU", "The line joins …", "MMLU: width 512 …", Chart(x=Axis("J/output token"), y=Axis("accuracy"), marks=[…]))]),
            Table("Medians over blocks", columns("Width", "J"), [text_row("512", "0.31")]),
        ])

Add the function to `reports.sections.contents.SECTIONS`, at its place in the report; no other file changes. Two modules render blocks,
`reports.document.html` and `reports.document.markdown`; `reports.document.pictures` draws a `Chart`. Text in a block is never markup: the renderers escape it, so a builder passes external names
unchanged. `render_page` accepts any `Article`, not only a run's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from reports.checks.rules import Outcome
from reports.document.chart import Chart
from reports.statistics.ratios import Verdict

SIGNS: dict[Verdict, str] = {"better": "▲", "worse": "▼", "equivalent": "=", "undecided": "?"}


@dataclass(frozen=True)
class Prose:
    """A paragraph. "lede" introduces a section, "fine" is small print, "alert" is highlighted."""

    text: str
    kind: Literal["plain", "lede", "fine", "alert"] = "plain"


@dataclass(frozen=True)
class Heading:
    """The heading of a part of a section."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list of short remarks."""

    items: Sequence[str]


@dataclass(frozen=True)
class Code:
    """Text to copy verbatim."""

    text: str
    language: str = ""


@dataclass(frozen=True)
class Answer:
    """The answer to one question: `topic` names the question, `choice` is the answer in a few words, `sentences` have the figures.

    `plot` shows it.
    """

    topic: str
    sentences: list[str]
    choice: str | None = None
    checks: str | None = None  # the evidence behind the answer
    plot: Plot | None = None


@dataclass(frozen=True)
class Answers:
    """The head of a report."""

    answers: Sequence[Answer]


@dataclass(frozen=True)
class Finding:
    """The result of one check: `seen` in one line, `remedy`, and `details` for each place."""

    outcome: Outcome
    name: str
    seen: str
    remedy: str = ""
    meaning: str = ""
    details: Sequence[tuple[Outcome, str]] = ()


@dataclass(frozen=True)
class Findings:
    """A list of checks; `folded` shows one line each and expands on demand."""

    findings: Sequence[Finding]
    folded: bool = False


@dataclass(frozen=True)
class Tally:
    """The checks by their outcome, from the worst to the best, each with the names of its checks."""

    outcomes: Mapping[Outcome, Sequence[str]]


@dataclass(frozen=True)
class Column:
    """`heading` with a unit or source beneath it."""

    heading: str
    unit: str = ""


def columns(*headings: str | tuple[str, str]) -> list[Column]:
    """Columns by their headings, or by heading and unit."""
    return [Column(one) if isinstance(one, str) else Column(*one) for one in headings]


@dataclass(frozen=True)
class Entry:
    """One entry of a table: the value, its ratio to the baseline, and the letter of the note on what is missing."""

    text: str
    change: str | None = None
    verdict: Verdict | None = None
    note: str | None = None


@dataclass(frozen=True)
class Row:
    """The first entry names the row."""

    entries: Sequence[Entry]
    is_baseline: bool = False


def text_row(*texts: str) -> Row:
    """A row of plain texts."""
    return Row([Entry(text) for text in texts])


@dataclass(frozen=True)
class Table:
    """`notes` maps letters to reasons; `remarks` are about the whole table. "figures" are aligned right, "text" left."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    notes: dict[str, str] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    kind: Literal["figures", "text"] = "figures"

    @property
    def has_verdicts(self) -> bool:
        """Whether the table needs a legend of the verdicts' signs."""
        return any(entry.verdict for row in self.rows for entry in row.entries)


def note_letter(reason: str | None, notes: dict[str, str]) -> str | None:
    """The letter of a reason in a table's `notes`, which gain it if it is new: a … z, aa, ab …; None: there is no reason."""
    if reason is None:
        return None
    known = next((letter for letter, text in notes.items() if text == reason), None)
    if known is None:
        turns, last = divmod(len(notes), 26)
        known = (chr(ord("a") + turns - 1) if turns else "") + chr(ord("a") + last)
        notes[known] = reason
    return known


@dataclass(frozen=True)
class Plot:
    """`lede` is the sentence under the title, `alt` describes the picture. Without data there is no chart; `absent` gives the reason."""

    title: str
    lede: str = ""
    alt: str = ""
    chart: Chart | None = None
    absent: str | None = None


@dataclass(frozen=True)
class Plots:
    """Plots side by side, at most `abreast` in a row."""

    plots: Sequence[Plot]
    abreast: Literal[1, 2, 3] = 2


@dataclass(frozen=True)
class Fold:
    """Collapsed blocks under a title."""

    title: str
    blocks: Sequence[Block]


Block = Prose | Heading | Items | Code | Answers | Findings | Tally | Table | Plots | Fold


@dataclass(frozen=True)
class Section:
    """One part of a report. `id` is unique in its article and consists of letters, digits and dashes; other sections may link to it.

    `fold` says where the page shows the title alone until a reader opens it: nowhere, on a screen, or on paper too.
    """

    id: str
    title: str
    blocks: Sequence[Block]
    fold: Literal["nowhere", "on screen", "everywhere"] = "nowhere"


class PlacedPlot(NamedTuple):
    """A plot with its id, and the number of plots beside each other where it is."""

    id: str
    plot: Plot
    abreast: Literal[1, 2, 3]


@dataclass(frozen=True)
class Article:
    """The report of one run or study. `id` is unique in the page; `kicker` is the small line above the title, `subtitle` the one below.

    `watermark` is drawn across every picture. `commands` made the report, each with the name of what it makes.
    """

    id: str
    title: str
    kicker: str
    subtitle: str
    sections: Sequence[Section]
    watermark: str = ""
    commands: Sequence[tuple[str, str]] = ()

    def plots(self) -> list[PlacedPlot]:
        """Every plot, in the order of the page."""
        return [
            PlacedPlot(f"{self.id}-{section.id}-{number}", plot, abreast)
            for section in self.sections
            for number, (plot, abreast) in enumerate(_plots(section.blocks), 1)
        ]


def _plots(blocks: Sequence[Block]) -> list[tuple[Plot, Literal[1, 2, 3]]]:
    """The plots with the number beside each other."""
    found: list[tuple[Plot, Literal[1, 2, 3]]] = []
    for block in blocks:
        if isinstance(block, Plots):
            found += [(plot, block.abreast) for plot in block.plots]
        elif isinstance(block, Answers):
            found += [(answer.plot, 2) for answer in block.answers if answer.plot]
        elif isinstance(block, Fold):
            found += _plots(block.blocks)
    return found
