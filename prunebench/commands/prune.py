"""`prunebench prune` and `prunebench inspect`: the pruner's results as text or JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.filesize import decimal
from rich.table import Table

from prunebench.terminal.progress import Steps
from pruner.checkpoint.hub import find_source, source_headers
from pruner.errors import PruneError
from pruner.inspection import ALIGNMENTS, Inspection, TargetRow, inspect_checkpoint
from pruner.output.publishing import check_push, push
from pruner.prune import PrunedCheckpoint
from pruner.prune import prune as prune_checkpoint
from pruner.scoring.scoring import Calibration
from pruner.scoring.targets import Target, require_targets
from reports.document.console import Console

PAPER_PERCENTAGES = (10, 20, 30, 40, 50, 60)  # arXiv 2512.22671


def prune_command(
    source: str,
    output: Path,
    targets: Sequence[Target],
    *,
    revision: str | None,
    criterion: str,
    calibration: Path | None,
    multiple_of: int,
    push_to: str | None,
    as_json: bool,
    console: Console,
    **how: Any,
) -> None:
    """Fetch the source if it is on the hub, prune, with progress on stderr, push if asked, and name what was written."""
    require_targets(targets)
    if push_to:
        check_push(push_to)
    with source_headers(source, revision) as headers:  # what cannot be pruned need not be downloaded
        inspect_checkpoint(headers, targets, multiple_of=multiple_of)
    folder = find_source(source, revision)
    stderr = Console(stderr=True)
    with Steps(stderr, "pruning") as steps:
        pruned = prune_checkpoint(
            folder,
            output,
            targets,
            criterion=criterion,  # type: ignore[arg-type]  # the pruner names the wrong ones itself
            calibration=_calibration(folder, criterion, calibration, steps),
            multiple_of=multiple_of,
            announce=lambda needed, free: steps.say(
                f"writing {decimal(needed)} to {output}, {decimal(free)} are free there"
            ),
            progress=steps.bytes_done,
            **how,
        )
        addresses = push(pruned, push_to, lambda name: steps.say(f"uploading {name}")) if push_to else []
    _print(pruned, addresses, as_json=as_json, console=console)


def _calibration(source: Path, criterion: str, text: Path | None, steps: Steps) -> Calibration | None:
    if text is None:
        return None
    if criterion != "act":  # before torch is imported and the text is read
        raise PruneError(f"--calibration {text}: only --criterion act uses a text")
    from prunebench.calibration import TextCalibration

    return TextCalibration(
        source, text, lambda done, total: steps.reach(done, total, f"calibrating, sequence {done} of {total}")
    )


def _print(pruned: list[PrunedCheckpoint], addresses: list[str], *, as_json: bool, console: Console) -> None:
    if as_json:
        rows = [{"folder": str(one.folder), **one.manifest.model_dump(mode="json")} for one in pruned]
        pushed = [{"pushed_to": address} for address in addresses] or [{} for _ in rows]
        console.print_json(json.dumps([row | more for row, more in zip(rows, pushed, strict=True)]))
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
    for address in addresses:
        console.print(f"pushed to {address}", highlight=False, soft_wrap=True)


def inspect_command(
    source: str,
    targets: Sequence[Target],
    *,
    revision: str | None,
    multiple_of: int,
    as_json: bool,
    console: Console,
) -> None:
    """What each target would give; without targets the paper's percentages. Of a model on the hub only headers are fetched."""
    wanted = targets or [Target("percentage", p) for p in PAPER_PERCENTAGES]
    with source_headers(source, revision) as folder:
        found = inspect_checkpoint(folder, wanted, multiple_of=multiple_of)
    if as_json:
        console.print_json(found.model_dump_json())
    else:
        console.print(_table(source, found))


def _table(source: str, found: Inspection) -> Table:
    table = Table(
        title=f"{Path(source).name}: {found.family}, {found.layers} layers, hidden {found.hidden_size}, "
        f"width {found.width}, {found.parameters:,} parameters, {decimal(found.bytes)}",
        caption="saved: memory for weights, whatever the KV cache takes; ✓: every width divides by it; tensor parallel: GPUs",
        title_justify="left",
        caption_justify="left",
    )
    names = [
        "target",
        "width",
        "ratio",
        "removed",
        "parameters",
        "size",
        "saved",
        *map(str, ALIGNMENTS),
        "tensor parallel",
    ]
    for name in names:
        table.add_column(name, justify="left" if name == "target" else "right")
    for row in found.targets:
        table.add_row(*_cells(row))
    return table


def _cells(row: TargetRow) -> list[str]:
    return [
        row.target,
        str(row.width),
        f"{row.expansion_ratio:.4g}",
        f"{row.pruning_percentage:.1f} %",
        f"{row.parameters:,}",
        decimal(row.bytes),
        decimal(row.memory_saved),
        *("✓" if alignment in row.aligned_to else "" for alignment in ALIGNMENTS),
        ", ".join(map(str, row.tensor_parallel)),
    ]
