"""Render a comparison of two runs: for a terminal, a pull request, a CI server or a script."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Literal
from xml.etree import ElementTree as ET

from rich import box
from rich.table import Table
from rich.text import Text

from base.figures import figure
from reports.compare.runs import ComparedCell, ComparedQuantity, RunComparison
from reports.document.blocks import SIGNS
from reports.document.console import Console
from reports.document.wording import ABSENT, PER_CELL, in_words, times, with_interval

TextFormat = Literal["text", "markdown", "junit", "json"]
_COLUMNS = ("Workload", "Width", "Quantity", "Before", "After", "n", "After / before", "Verdict")
_HEADINGS = ("Workload", "Width", "Quantity", "Before", "After", "After / before", "Verdict")
_STYLES = {"better": "green", "worse": "red"}
_SHOWN = 20
_WIDE = 120  # columns; below it an undecided verdict is abbreviated


def render_comparison(comparison: RunComparison, form: TextFormat, width: int = 150) -> str:
    """The comparison in one of the formats; ends in a newline."""
    renderers: dict[TextFormat, Callable[[], str]] = {
        "text": lambda: _text(comparison, width),
        "markdown": lambda: _markdown(comparison),
        "junit": lambda: _junit(comparison),
        "json": lambda: comparison.model_dump_json(indent=1),
    }
    return renderers[form]().rstrip("\n") + "\n"


def outcome(comparison: RunComparison) -> str:
    """The last line: the number of regressions, and the limit that they were judged by."""
    if comparison.fail_over is None:
        return f"No limit was set (--fail-over). Verdicts are at a margin of {100 * comparison.margin:.3g} %."
    found, lost = (
        sum(q.regression for c in comparison.cells for q in c.quantities),
        sum(c.lost for c in comparison.cells),
    )
    words = f"{found or 'No'} regression{'s' * (found != 1)} among {comparison.decidable} ratios with an interval"
    rule = f"the whole 95 % interval is worse by more than {100 * comparison.fail_over:.3g} %"
    return f"{words} ({rule}){f'; {lost} measured before and failed now' if lost else ''}."


def _rows(comparison: RunComparison) -> list[tuple[ComparedCell, ComparedQuantity | None, tuple[str, ...]]]:
    rows: list[tuple[ComparedCell, ComparedQuantity | None, tuple[str, ...]]] = []
    for cell in comparison.cells:
        place = (cell.workload, cell.name.removeprefix("width "))
        if cell.reason:
            rows.append((cell, None, (*place, "", "", "", "", cell.reason)))
        rows += [(cell, q, (*place, *words(q))) for q in cell.quantities]
    return rows


def words(quantity: ComparedQuantity) -> tuple[str, str, str, str, str]:
    """Title, before, after, ratio and verdict."""
    found = quantity.comparison
    text = f"{SIGNS[found.verdict]} {in_words(found)}" if found.verdict else found.reason
    verdict = f"{text}{', regression' if quantity.regression else ''}"
    before, after = _side(quantity.before, quantity.trials_before), _side(quantity.after, quantity.trials_after)
    title = f"{quantity.title} ({quantity.unit})" if quantity.unit not in quantity.title else quantity.title
    return title, before, after, with_interval(found) or ABSENT, verdict


def _side(value: float | None, trials: int) -> str:
    return ABSENT if value is None else f"{figure(value)} (n = {trials})"


def _sides(quantity: ComparedQuantity | None) -> tuple[str, str, str]:
    """Before, after, and the number of trials, one if it is the same."""
    if quantity is None:
        return "", "", ""
    before, after = (ABSENT if value is None else figure(value) for value in (quantity.before, quantity.after))
    trials = dict.fromkeys((f"{quantity.trials_before}", f"{quantity.trials_after}"))
    return before, after, ", ".join(trials)


def notes(comparison: RunComparison) -> list[tuple[str, list[str]]]:
    """Notes beside the figures: headings with their lines, without empty ones."""
    apart = [f"{w}: only in {comparison.before}" for w in comparison.only_before]
    apart += [f"{w}: only in {comparison.after}" for w in comparison.only_after]
    differences = [f"{d.what}: {d.before or 'none'} → {d.after or 'none'}" for d in comparison.differences]
    found = [
        ("Simulated, which decides nothing", comparison.simulated),
        ("Intervals", [PER_CELL]),
        ("Differences between the runs", differences or ["none recorded"]),
        ("Not in both", apart),
        ("Validity checks that fail", comparison.failed_checks),
        ("Cells that failed", comparison.failures),
        ("Trials that are damaged on disk and left out", comparison.damaged),
    ]
    return [(heading, _cut(lines)) for heading, lines in found if lines]


def _cut(lines: list[str]) -> list[str]:
    return lines if len(lines) <= _SHOWN else [*lines[:_SHOWN], f"and {len(lines) - _SHOWN} more"]


def _text(comparison: RunComparison, width: int) -> str:
    table = Table(
        title=Text(f"{comparison.before} → {comparison.after}"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for heading in _COLUMNS:
        table.add_column(heading, justify="right" if heading in {"Before", "After", "n"} else "left")
    for _, quantity, words in _rows(comparison):
        verdict = quantity.comparison.verdict if quantity else None
        place, ratio, said = words[:3], *words[-2:]
        if width < _WIDE and quantity and (effect := quantity.comparison.smallest_effect) and verdict == "undecided":
            said = f"{SIGNS[verdict]} undecided <{times(1 / effect)} >{times(effect)}"
        table.add_row(*map(Text, (*place, *_sides(quantity), ratio, said)), style=_STYLES.get(verdict or ""))
    page = Console(file=io.StringIO(), width=width)
    page.print(table)
    if width < _WIDE:
        page.print(Text("undecided: a ratio below the first figure or above the second would have shown"))
    for heading, lines in notes(comparison):
        page.print(Text(f"{heading}:"))
        for line in lines:
            page.print(Text(f"  {line}"), soft_wrap=True)
    page.print(Text(outcome(comparison)), soft_wrap=True)
    file = page.file
    return file.getvalue() if isinstance(file, io.StringIO) else ""


def _markdown(comparison: RunComparison) -> str:
    lines = [f"### {_escaped(comparison.before)} → {_escaped(comparison.after)}", "", outcome(comparison), ""]
    lines += ["| " + " | ".join(_HEADINGS) + " |", "|---|--:|---|--:|--:|--:|---|"]
    lines += ["| " + " | ".join(_escaped(word) for word in words) + " |" for _, _, words in _rows(comparison)]
    for heading, said in notes(comparison):
        lines += ["", f"**{heading}**", "", *(f"- {_escaped(line)}" for line in said)]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """Escape external text, so that it cannot start markup, HTML or a new column."""
    for sign in "\\`*_[]|#":
        text = text.replace(sign, "\\" + sign)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ")


def _junit(comparison: RunComparison) -> str:
    """A suite a workload, a case a quantity: regressions and lost cells are failures, quantities without an interval are skipped."""
    root = ET.Element("testsuites", name=f"{comparison.before} → {comparison.after}")
    for workload in dict.fromkeys(cell.workload for cell in comparison.cells):
        suite = ET.SubElement(root, "testsuite", name=workload)
        for cell, quantity, words in _rows(comparison):
            if cell.workload == workload:
                _case(suite, cell, quantity, words)
        for counted, tag in (("tests", "testcase"), ("failures", "testcase/failure"), ("skipped", "testcase/skipped")):
            suite.set(counted, str(len(suite.findall(tag))))
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + _printable(ET.tostring(root, encoding="unicode"))


def _case(suite: ET.Element, cell: ComparedCell, quantity: ComparedQuantity | None, words: tuple[str, ...]) -> None:
    name = quantity.key if quantity else "measured"
    case = ET.SubElement(suite, "testcase", classname=f"{cell.workload}.{cell.label_before}", name=name)
    text = ", ".join(word for word in words[3:] if word)
    if cell.lost or (quantity and quantity.regression):
        ET.SubElement(case, "failure", message=text, type="lost" if cell.lost else "regression")
    elif quantity is None or quantity.comparison.low is None:
        ET.SubElement(case, "skipped", message=text)
    else:
        ET.SubElement(case, "system-out").text = text


def _printable(text: str) -> str:
    """Replace control characters, which XML 1.0 cannot represent."""
    return "".join(c if c.isprintable() or c in "\t\n" else "?" for c in text)
