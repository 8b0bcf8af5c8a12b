"""`prunebench inspect`: what each target width would give."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.filesize import decimal
from rich.table import Table

from base.paths import matching
from prunebench.commands import options
from prunebench.terminal.command_help import examples
from prunebench.terminal.console import out
from pruner.checkpoint.hub import source_headers
from pruner.inspection import ALIGNMENTS, Inspection, TargetRow, inspect_checkpoint
from pruner.scoring.targets import Target
from reports.document.wording import ABSENT, parameters

PAPER_PERCENTAGES = (10, 20, 30, 40, 50, 60)  # arXiv 2512.22671


@examples(
    ("The paper's percentages", "prunebench inspect ./model"),
    (
        "A model of the hub; only its headers are fetched",
        "prunebench inspect meta-llama/Llama-3.2-1B --multiple-of 128",
    ),
    ("Two widths, for a script", "prunebench inspect ./model --intermediate-size 4096 --intermediate-size 6144 --json"),
)
def inspect(
    source: options.Source,
    revision: options.Revision = None,
    expansion_ratio: options.Ratios = None,
    pruning_percentage: options.Percentages = None,
    intermediate_size: options.Widths = None,
    remove_layers: options.RemoveLayers = None,
    multiple_of: options.MultipleOf = 1,
    as_json: options.Json = False,
) -> None:
    """Of a model on the hub only the headers are fetched."""
    wanted = options.targets(expansion_ratio, pruning_percentage, intermediate_size)
    if not wanted and not any(remove_layers or ()):
        wanted = [Target("percentage", percentage) for percentage in PAPER_PERCENTAGES]
    with source_headers(source, revision) as folder:
        found = inspect_checkpoint(folder, wanted, remove_layers=remove_layers or (), multiple_of=multiple_of)
    if as_json:
        out.print_json(found.model_dump_json())
    else:
        here = matching(source)[0]
        out.print(_table(here.resolve().name if here.exists() else Path(source).name, found))


def _table(checkpoint: str, found: Inspection) -> Table:
    table = Table(
        title=f"{checkpoint}: {found.family}, {found.layers} layers, hidden {found.hidden_size}, "
        f"width {found.width}, {found.parameters:,} parameters, {decimal(found.bytes)}",
        caption="saved: memory for weights, without the KV cache; multiple of: the largest of "
        f"{', '.join(map(str, ALIGNMENTS))} that divides every width; GPUs: the most that tensor parallelism can use, up to 8",
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    shallower = any(row.layers < found.layers for row in found.targets)
    depth = ["layers"] if shallower else []
    for name in ("target", "width", *depth, "ratio", "removed", "parameters", "size", "saved", "multiple of", "GPUs"):
        table.add_column(name, justify="left" if name == "target" else "right")
    for row in found.targets:
        table.add_row(*_cells(row, shallower=shallower))
    return table


def _cells(row: TargetRow, *, shallower: bool) -> list[str]:
    given = row.target.partition(", ")[0]  # the layers have a column
    kind, _, amount = given.partition(" ")
    return [
        f"{amount} %" if kind == "percentage" else given,
        str(row.width),
        *([str(row.layers)] if shallower else []),
        f"{row.expansion_ratio:.4g}",
        f"{row.pruning_percentage:.1f} %",
        parameters(row.parameters),
        decimal(row.bytes),
        decimal(row.memory_saved),
        str(max(row.aligned_to, default=ABSENT)),
        str(max(row.tensor_parallel)),
    ]
