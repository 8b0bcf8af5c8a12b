"""How each configuration was pruned, and what that cost on the held-out part of its calibration text."""

from __future__ import annotations

from base.figures import figure
from pruner.output.manifest import Manifest
from reports.analysis.records import Analysis
from reports.document.blocks import Block, Entry, Prose, Row, Section, Table, columns, note_letter, text_row
from reports.document.wording import ABSENT, times

_LEDE = (
    "Perplexity here is the pruner's own, of the whole and of the pruned model, on the part of the calibration text that it held out. "
    "It judges a recipe on the kind of text that it was calibrated on, and no other."
)
_NO_TEXT = "pruned without a calibration text"


def pruning_section(analysis: Analysis) -> Section | None:
    """Recipes, and perplexities where a text was given; None if nothing was pruned."""
    made = [(c.info.label, c.info.manifest) for c in analysis.configurations if c.info.manifest]
    if not made:
        return None
    recipes = Table(
        "What was removed from the source, and how it was chosen.",
        columns("Configuration", "Target", "Criterion", "Refit", "Layers removed", "Calibration text", "Details"),
        [text_row(label, *_recipe(manifest)) for label, manifest in made],
        kind="text",
    )
    blocks: list[Block] = [recipes]
    if any(manifest.held_out for _, manifest in made):
        blocks = [Prose(_LEDE, "lede"), _costs(made), recipes]
    return Section("pruning", "How it was pruned, and what that cost", blocks)


def _recipe(made: Manifest) -> list[str]:
    text = made.calibration
    criterion = f"{made.criterion}{'' if made.seed is None else f', seed {made.seed}'}"
    narrower = made.width < made.source_width
    return [
        made.target,
        criterion if narrower else ABSENT,
        (narrower and text and text.refit) or ABSENT,
        ", ".join(str(one.layer) for one in made.removed_layers) or ABSENT,
        f"{text.name}, {text.tokens:,} tokens" if text else ABSENT,
        f"multiple of {made.multiple_of}, ties {made.tie_break}",
    ]


def _costs(made: list[tuple[str, Manifest]]) -> Table:
    notes: dict[str, str] = {}
    rows = []
    for label, manifest in made:
        found = manifest.held_out
        before, after = (found.perplexity_before, found.perplexity_after) if found else (None, None)
        if before is None or after is None:
            why = note_letter((found and found.reason) or _NO_TEXT, notes)
            entries = [Entry(ABSENT, note=why), Entry(ABSENT), Entry(ABSENT), Entry(ABSENT)]
        else:
            tokens = found.tokens if found else 0
            entries = [
                Entry(figure(before)),
                Entry(figure(after)),
                Entry(times(after / before)),
                Entry(f"{tokens:,}"),
            ]
        rows.append(Row([Entry(label), *entries]))
    headings = columns("Configuration", "Perplexity before", "Perplexity after", "After / before", "Tokens scored")
    return Table("Perplexity of the held-out part of the calibration text.", headings, rows, notes=notes)
