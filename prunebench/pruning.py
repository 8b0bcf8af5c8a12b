"""`prunebench prune` and `prunebench inspect`: the pruner's results as text or JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from prunebench.progress import Steps
from pruner.inspection import Inspection, inspect_checkpoint
from pruner.prune import prune as prune_checkpoint
from pruner.targets import Target

PAPER_PERCENTAGES = (10, 20, 30, 40, 50, 60)  # arXiv 2512.22671


def prune_command(
    source: Path, output: Path, targets: Sequence[Target], *, as_json: bool, console: Console, **how: Any
) -> None:
    """Prune, with progress on stderr, and name what was written."""
    with Steps(Console(stderr=True), "pruning") as steps:
        pruned = prune_checkpoint(source, output, targets, progress=steps.bytes_done, **how)
    if as_json:
        rows = [{"folder": str(one.folder), **one.manifest.model_dump(mode="json")} for one in pruned]
        console.print_json(json.dumps(rows))
        return
    for one in pruned:
        made = one.manifest
        tied = sum(layer.ties_at_cut > 1 for layer in made.layers)
        console.print(
            f"{one.folder}: width {one.width}, expansion ratio {made.expansion_ratio:.4g}, "
            f"{made.pruning_percentage:.1f} % removed; scores tied at the cut in {tied} of {len(made.layers)} MLPs",
            highlight=False,
            soft_wrap=True,
        )


def inspect_command(
    source: Path, targets: Sequence[Target], *, multiple_of: int, as_json: bool, console: Console
) -> None:
    """What each target would give; without targets the paper's percentages."""
    wanted = targets or [Target("percentage", p) for p in PAPER_PERCENTAGES]
    found = inspect_checkpoint(source, wanted, multiple_of=multiple_of)
    if as_json:
        console.print_json(found.model_dump_json())
    else:
        console.print(_table(source, found))


def _table(source: Path, found: Inspection) -> Table:
    table = Table(
        title=f"{source.name}: {found.family}, {found.layers} layers, hidden {found.hidden_size}, width {found.width}, "
        f"{found.parameters:,} parameters, {found.bytes / 1e6:,.1f} MB",
        title_justify="left",
    )
    for name in ("target", "width", "ratio", "removed", "parameters", "MB", "saved", "aligned to", "tensor parallel"):
        table.add_column(name, justify="left" if name == "target" else "right")
    for row in found.targets:
        table.add_row(
            row.target,
            str(row.width),
            f"{row.expansion_ratio:.4g}",
            f"{row.pruning_percentage:.1f} %",
            f"{row.parameters:,}",
            f"{row.bytes / 1e6:,.1f}",
            f"{1 - row.bytes / found.bytes:.1%}",
            str(max(row.aligned_to, default=1)),
            ", ".join(map(str, row.tensor_parallel)),
        )
    return table
