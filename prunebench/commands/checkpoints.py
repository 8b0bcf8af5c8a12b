"""The commands about checkpoints on disk."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prunebench.commands.options import Json, out

if TYPE_CHECKING:
    from pruner.scoring.targets import Target


class CriterionName(StrEnum):
    """What --criterion takes."""

    maw = "maw"
    vow = "vow"
    pon = "pon"
    l2 = "l2"
    random = "random"
    act = "act"


class TieBreakName(StrEnum):
    """What --tie-break takes."""

    stable = "stable"
    torch = "torch"


Ratios = Annotated[
    list[float] | None, typer.Option("--expansion-ratio", help="Target width / hidden size; repeatable.")
]


Percentages = Annotated[
    list[float] | None, typer.Option("--pruning-percentage", help="Share of the width to remove; repeatable.")
]


Widths = Annotated[list[int] | None, typer.Option("--intermediate-size", help="Target width itself; repeatable.")]


Source = Annotated[str, typer.Argument(help="A checkpoint folder, or a model on the Hugging Face hub, OWNER/NAME.")]


Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a model on the hub; default main.")]


MultipleOf = Annotated[int, typer.Option(min=1, help="Round widths to the nearest multiple of this.")]


def _targets(ratios: list[float] | None, percentages: list[float] | None, widths: list[int] | None) -> list[Target]:
    """What the three target options ask for, in the order ratio, percentage, width."""
    from pruner.scoring.targets import Target

    return [
        *(Target("ratio", ratio) for ratio in ratios or []),
        *(Target("percentage", percentage) for percentage in percentages or []),
        *(Target("width", width) for width in widths or []),
    ]


def prune(
    source: Source,
    output: Annotated[Path, typer.Option(help="Where the folders width-N go.")],
    revision: Revision = None,
    expansion_ratio: Ratios = None,
    pruning_percentage: Percentages = None,
    intermediate_size: Widths = None,
    criterion: Annotated[CriterionName, typer.Option(help="What makes a neuron worth keeping.")] = CriterionName.maw,
    seed: Annotated[int, typer.Option(help="Of the random criterion.")] = 0,
    calibration: Annotated[
        Path | None, typer.Option(help="A text for the act criterion, which runs the model.")
    ] = None,
    multiple_of: MultipleOf = 1,
    tie_break: Annotated[TieBreakName, typer.Option(help="Among equal scores: lower index, or torch.topk's set.")] = (
        TieBreakName.stable
    ),
    tensor_parallel: Annotated[int, typer.Option(min=1, help="Refuse widths that this does not divide.")] = 1,
    push: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="Upload each to OWNER/NAME-width-N, private.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write narrower checkpoints, all widths in one pass over the source."""
    from prunebench.commands.prune import prune_command

    targets = _targets(expansion_ratio, pruning_percentage, intermediate_size)
    prune_command(
        source,
        output,
        targets,
        revision=revision,
        criterion=criterion.value,
        seed=seed,
        calibration=calibration,
        multiple_of=multiple_of,
        tie_break=tie_break.value,
        tensor_parallel=tensor_parallel,
        push_to=push,
        as_json=as_json,
        console=out,
    )


def inspect(
    source: Source,
    revision: Revision = None,
    expansion_ratio: Ratios = None,
    pruning_percentage: Percentages = None,
    intermediate_size: Widths = None,
    multiple_of: MultipleOf = 1,
    as_json: Json = False,
) -> None:
    """Show what each target width would give, by default the paper's percentages; nothing is written."""
    from prunebench.commands.prune import inspect_command

    targets = _targets(expansion_ratio, pruning_percentage, intermediate_size)
    inspect_command(source, targets, revision=revision, multiple_of=multiple_of, as_json=as_json, console=out)
