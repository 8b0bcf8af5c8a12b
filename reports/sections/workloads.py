"""What was measured under each workload: a table of medians and ratios, and plots of the ratios."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace

from rich.table import Table as TerminalTable

from base.figures import figure, percent
from reports.analysis.quantities import (
    CHARACTER_JOULES,
    CHARACTER_MS,
    E2E,
    JOULES,
    MODELLED_CHARACTER_JOULES,
    MODELLED_JOULES,
    NET_JOULES,
    OUTPUT_CHARACTERS_PER_S,
    OUTPUT_TOKENS_PER_S,
    REQUEST_JOULES,
    TPOT,
    TTFT,
)
from reports.analysis.records import Analysis, Cell, ConfigurationFigures
from reports.decision.answers import answers
from reports.document.blocks import Block, Column, Entry, Heading, Plots, Prose, Row, Section, Table, note_letter
from reports.document.terminal import terminal_table
from reports.document.wording import (
    ABSENT,
    LOOKED,
    PER_CELL,
    SIMULATED,
    is_named_by_width,
    listed,
    or_absent,
    parameters,
    sentence,
    smallest_effect,
    times,
    with_interval,
)
from reports.sections.plots.ratios import ratio_plot

_OTHER_TOKENS = (
    "Perplexities are per token of each tokenizer; their ratios are over the same text, per token of the baseline."
)
_CAPTION = "Medians over trials; beneath, the ratio to the baseline with its interval."


@dataclass(frozen=True)
class _Field:
    column: Column
    entry: Callable[[ConfigurationFigures, Cell], tuple[Entry, str | None]]  # the entry, and why something is missing
    compared: str | None = None  # the quantity whose ratio it shows


def workloads_section(analysis: Analysis) -> Section | None:
    """Every workload's table and ratios; None without a workload."""
    blocks: list[Block] = []
    sentences = {answer.topic: answer.sentences for answer in answers(analysis)}
    for workload, table in workload_tables(analysis).items():
        ratios = [
            ratio_plot(analysis, workload, key) for key in map(analysis.quantity, (OUTPUT_TOKENS_PER_S, TTFT, TPOT))
        ]
        blocks += [
            Heading(workload),
            Prose(sentence(_description(analysis, workload)), "lede"),
            Prose(" ".join(sentences[workload])),
            table,
            Plots(ratios, abreast=3),
        ]
    return Section("workloads", "What was measured", blocks) if blocks else None


def workload_tables(analysis: Analysis) -> dict[str, Table]:
    """A table for each workload, configurations in the order of the run."""
    return {workload: _table(analysis, workload) for workload in analysis.info.workloads}


def terminal_tables(analysis: Analysis) -> list[TerminalTable]:
    """The tables of a run for the terminal."""
    return [
        terminal_table(
            table,
            f"{analysis.info.name}{f' ({SIMULATED})' * analysis.simulated} · {workload}: {_description(analysis, workload)}",
        )
        for workload, table in workload_tables(analysis).items()
    ]


def _description(analysis: Analysis, workload: str) -> str:
    known = analysis.workloads.get(workload)
    return known.describe() if known else "no trial of this workload is finished"


def _table(analysis: Analysis, workload: str) -> Table:
    cells = {c.info.label: analysis.cell(c.info.label, workload) for c in analysis.configurations}
    fields = _fields(analysis, list(cells.values()))
    notes: dict[str, str] = {}
    rows = []
    for configuration in analysis.configurations:
        cell = cells[configuration.info.label]
        found = [field.entry(configuration, cell) for field in fields]
        entries = [replace(entry, note=note_letter(reason, notes)) for entry, reason in found]
        if configuration.info.is_baseline:
            entries[0] = replace(entries[0], change="baseline")
        rows.append(Row(entries, configuration.info.is_baseline))
    has_verdicts = any(entry.verdict for row in rows for entry in row.entries)
    return Table(
        caption=_caption(analysis) if has_verdicts else _CAPTION,
        columns=[field.column for field in fields],
        rows=rows,
        notes=notes,
        remarks=[
            *_undecided(list(cells.values()), fields),
            *([_OTHER_TOKENS] if _has_other_tokens(analysis) else []),
            *_remarks(list(cells.values())),
        ],
    )


def _caption(analysis: Analysis) -> str:
    """How to read verdicts of this run."""
    return f"{_CAPTION} {PER_CELL}" + (f" {sentence(LOOKED)}" if analysis.info.looks else "")


def _fields(analysis: Analysis, cells: list[Cell]) -> list[_Field]:
    """The columns of one workload: bits per byte, net and modelled joules only where there are any."""
    configurations = analysis.configurations
    fields = []
    if not all(is_named_by_width(c.info) for c in configurations):
        fields.append(_Field(Column("Configuration"), lambda c, _: (Entry(c.info.label), None)))
    perplexity = _Field(Column("Perplexity"), lambda c, _: _perplexity(c))
    fields += [
        _Field(Column("Width"), lambda c, _: (Entry(or_absent(c.info.width, "d")), None)),
        _Field(Column("Ratio"), lambda c, _: (Entry(or_absent(c.info.expansion_ratio, ".2f")), None)),
        _Field(
            Column("Parameters"),
            lambda c, _: (Entry(ABSENT if c.info.parameters is None else parameters(c.info.parameters)), None),
        ),
        perplexity,
        _quantity(OUTPUT_TOKENS_PER_S, Column("Output tokens/s")),
        _quantity(TTFT, Column("TTFT", "ms")),
        _quantity(TPOT, Column("TPOT", "ms")),
        _quantity(JOULES, Column("J/output token", ", ".join(sorted({s for c in cells for s in c.energy_sources})))),
    ]
    if analysis.per_character:
        fields += _of_text(cells)
    if any(q.bits_per_byte is not None for c in configurations if (q := c.info.quality)):
        decides = _has_other_tokens(analysis)
        bits = _Field(Column("Bits/byte"), lambda c, _: _bits_per_byte(c, with_ends=decides))
        fields.insert(fields.index(perplexity) + 1, bits)
    if any(c.values[NET_JOULES].median is not None for c in cells):
        # No ratio: subtracting idle power from both sides makes any saving look larger than the machine's.
        fields.append(_quantity(NET_JOULES, Column("Net J/output token", "less idle"), compared=False))
    if any(c.values[MODELLED_JOULES].median is not None for c in cells):
        fields.append(_quantity(MODELLED_JOULES, Column("Modelled J/output token", "not measured")))
    return fields


def _of_text(cells: list[Cell]) -> list[_Field]:
    """Columns for tokenizers that differ: lengths in each one's own tokens, and figures that do not depend on them."""

    def lengths(_: ConfigurationFigures, cell: Cell) -> tuple[Entry, None]:
        prompt, output = or_absent(cell.mean_prompt_tokens, ".1f"), or_absent(cell.mean_output_tokens, ".1f")
        return Entry(f"{prompt} in, {output} out", f"{or_absent(cell.mean_output_characters, '.0f')} characters"), None

    fields = [
        _Field(Column("Tokens", "its own"), lengths),
        _quantity(OUTPUT_CHARACTERS_PER_S, Column("Characters/s")),
        _quantity(CHARACTER_MS, Column("Time/character", "ms")),
        _quantity(E2E, Column("Time/request", "ms")),
        _quantity(CHARACTER_JOULES, Column("J/character")),
        _quantity(REQUEST_JOULES, Column("J/request")),
    ]
    if any(c.values[MODELLED_CHARACTER_JOULES].median is not None for c in cells):
        fields.append(_quantity(MODELLED_CHARACTER_JOULES, Column("Modelled J/character", "not measured")))
    return fields


def _perplexity(configuration: ConfigurationFigures) -> tuple[Entry, str | None]:
    quality = configuration.info.quality
    if quality is None or quality.perplexity is None:
        return Entry(ABSENT), configuration.perplexity_reason
    ratio = configuration.perplexity_ratio
    change = times(ratio) if ratio is not None and not configuration.info.is_baseline else None
    return Entry(figure(quality.perplexity), change), configuration.perplexity_reason


def _bits_per_byte(configuration: ConfigurationFigures, *, with_ends: bool) -> tuple[Entry, str | None]:
    """Its ratio has an interval where tokenizers differ, so that perplexities per token do not compare."""
    quality, found = configuration.info.quality, configuration.bits_per_byte
    if quality is None or quality.bits_per_byte is None:
        return Entry(ABSENT), configuration.perplexity_reason or "the bytes that its tokens stand for are not known"
    change = None
    if not configuration.info.is_baseline and found is not None and found.ratio is not None:
        change = with_interval(found) if with_ends else times(found.ratio)
    return Entry(figure(quality.bits_per_byte), change), configuration.perplexity_reason


def _has_other_tokens(analysis: Analysis) -> bool:
    """Whether any perplexity is per token of another tokenizer than the baseline's."""
    scored = {q.tokens_sha256 for c in analysis.configurations if (q := c.info.quality) and q.perplexity}
    return len(scored) > 1


def _quantity(key: str, column: Column, *, compared: bool = True) -> _Field:
    def entry(_: ConfigurationFigures, cell: Cell) -> tuple[Entry, str | None]:
        value = cell.values[key]
        if value.median is None:
            return Entry(ABSENT), value.reason
        found = value.comparison
        if found is None or not compared:
            return Entry(figure(value.median)), value.reason
        return Entry(figure(value.median), with_interval(found), found.verdict), value.why_missing

    return _Field(column, entry, key if compared else None)


def _undecided(cells: list[Cell], fields: list[_Field]) -> list[str]:
    """The smallest effect that each column with an undecided ratio could have shown, by its widest interval."""
    effects: dict[str, list[str]] = {}
    for field in fields:
        found = [c.values[field.compared].comparison for c in cells] if field.compared else []
        sizes = [f.smallest_effect for f in found if f and f.verdict == "undecided" and f.smallest_effect]
        if sizes:
            effects.setdefault(smallest_effect(max(sizes)), []).append(field.column.heading)
    text = "; ".join(f"{listed(headings)}: {effect}" for effect, headings in effects.items())
    return [f"Undecided (?) by the widest interval of its column. {text}."] if text else []


def _remarks(cells: list[Cell]) -> list[str]:
    remarks = []
    uncertainties = [c.energy_uncertainty for c in cells if c.energy_uncertainty is not None]
    if uncertainties:
        remarks.append(
            f"Joules of a trial are known to ±{percent(max(uncertainties))} or better (95 %), sensor error not included."
        )
    of_net = [c.net_uncertainty for c in cells if c.net_uncertainty is not None]
    if of_net:
        remarks.append(
            f"Net joules of a trial are known to ±{percent(max(of_net))} or better (95 %), idle power and its drift included."
        )
    bases = sorted({basis for c in cells for basis in c.modelled_basis})
    if bases:
        remarks.append(f"Modelled joules are {'; '.join(bases)}: an assumption, not a measurement.")
    windows = sorted({words for c in cells for words in c.windows})
    if windows:
        remarks.append(f"Window: {'; or '.join(windows)}.")
    offered = [c.offered_rate for c in cells if c.offered_rate is not None]
    if offered:
        remarks.append(f"Offered: {figure(statistics.median(offered))} requests/s.")
    drafts = [f"{c.label} {percent(c.draft_acceptance)}" for c in cells if c.draft_acceptance is not None]
    if drafts:
        remarks.append(f"Tokens of a draft that were accepted: {listed(drafts)}.")
    remarks += [f"{c.label}: saturated in {c.saturated} of {c.trials} trials." for c in cells if c.saturated]
    return remarks
