"""`prunebench prune`: narrower checkpoints of one source."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.filesize import decimal

from prunebench.commands import options
from prunebench.terminal.command_help import examples
from prunebench.terminal.console import err, out, print_line
from prunebench.terminal.progress import Steps
from pruner.checkpoint.hub import find_source, source_headers
from pruner.errors import PruneError
from pruner.inspection import inspect_checkpoint
from pruner.output.manifest import Manifest, PrunedCheckpoint
from pruner.output.publishing import check_push
from pruner.output.publishing import push as push_checkpoints
from pruner.prune import prune as prune_checkpoint
from pruner.scoring.calibration import DEFAULT_REFIT, Calibration, Refit
from pruner.scoring.criteria import costs, criterion_choices, needing_text
from pruner.scoring.recipe import check_text_use, output_prefixes
from pruner.scoring.selection import TieBreak
from pruner.scoring.targets import require_targets

if TYPE_CHECKING:
    CriterionChoice = str
else:  # the criteria registered by now; a list takes no Literal
    CriterionChoice = StrEnum("CriterionChoice", {name: name for name in criterion_choices()})

_neuron_option = partial(typer.Option, rich_help_panel="Neurons")


@examples(
    ("One width, as width / hidden size", "prunebench prune ./model --output pruned --expansion-ratio 2.5"),
    (
        "Two in one pass: 10 and 20 % of the width removed",
        "prunebench prune ./model --output pruned --pruning-percentage 10 --pruning-percentage 20",
    ),
    (
        "Four layers fewer, those that the text misses least",
        "prunebench prune ./model --output pruned --remove-layers 4 --calibration text.jsonl",
    ),
    (
        "A model of the hub, to widths that tensor cores like",
        "prunebench prune meta-llama/Llama-3.2-1B --output pruned --expansion-ratio 2 --multiple-of 128",
    ),
)
def prune(
    source: options.Source,
    output: Annotated[Path, typer.Option(help="Where the folders go: [CRITERION[-refit]-]width-N[-layers-N].")],
    revision: options.Revision = None,
    expansion_ratio: options.Ratios = None,
    pruning_percentage: options.Percentages = None,
    intermediate_size: options.Widths = None,
    remove_layers: options.RemoveLayers = None,
    criterion: Annotated[
        list[CriterionChoice] | None,
        typer.Option(help=f"What makes a neuron worth keeping; default maw; repeatable, to compare. {costs()}."),
    ] = None,
    seed: Annotated[int, _neuron_option(min=0, help="Of the random criterion.")] = 0,
    calibration: Annotated[
        list[Path] | None,
        _neuron_option(
            help=f"Text, JSONL or chats for {needing_text()}, --refit and --remove-layers, which run the model; repeatable."
        ),
    ] = None,
    refit: Annotated[
        bool,
        _neuron_option(
            "--refit",
            help="Refit the down projections to the text by least squares; any criterion. Runs the model over the text "
            "and solves a system of the width for each MLP and output.",
        ),
    ] = False,
    sequential: Annotated[
        bool | None,
        _neuron_option(
            "--sequential/--one-shot",
            help="Refit to what reaches a layer of the pruned model, which takes a run of the text for each width, "
            f"or of the whole model: one run for all. Default {DEFAULT_REFIT}.",
        ),
    ] = None,
    multiple_of: options.MultipleOf = 1,
    tie_break: Annotated[
        TieBreak, _neuron_option(help="Among equal scores: lower index, or torch.topk's set.")
    ] = "stable",
    tensor_parallel: Annotated[
        int, typer.Option(min=1, help="Refuse widths that this does not divide.", rich_help_panel="Widths")
    ] = 1,
    push: Annotated[
        str | None,
        typer.Option(metavar="OWNER/NAME", help="Upload each to OWNER/NAME-FOLDER, private.", rich_help_panel="Output"),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Fetch the source if it is on the hub, prune it, push if asked, and print the folders. Progress goes to stderr."""
    wanted = options.targets(expansion_ratio, pruning_percentage, intermediate_size)
    depths = remove_layers or []
    require_targets(wanted, depths)
    criteria = [str(one) for one in criterion or ["maw"]]
    output_prefixes(criteria, refit=refit)
    check_text_use(criteria, text=bool(calibration), refit=refit, depth=any(depths))
    how = _refit(sequential) if refit else None
    if sequential is not None and not refit:
        raise PruneError(f"--{_refit(sequential)}: is how to --refit; give that too")
    if push:
        check_push(push)
    with source_headers(source, revision) as headers:  # fail before the download of a checkpoint that cannot be pruned
        inspect_checkpoint(headers, wanted, remove_layers=depths, multiple_of=multiple_of)
    folder = find_source(source, revision)
    with Steps(err, "pruning") as steps:
        pruned = prune_checkpoint(
            folder,
            output,
            wanted,
            criterion=criteria,
            seed=seed,
            calibration=_calibration(folder, criteria, calibration, how, steps),
            remove_layers=depths,
            multiple_of=multiple_of,
            tie_break=tie_break,
            tensor_parallel=tensor_parallel,
            announce=lambda needed, free: steps.print(
                f"writing {decimal(needed)} to {output}, {decimal(free)} are free there"
            ),
            progress=steps.bytes_done,
        )
        addresses = push_checkpoints(pruned, push, lambda name: steps.print(f"uploading {name}")) if push else []
    _print(pruned, addresses, as_json=as_json)


def _refit(sequential: bool | None) -> Refit:
    return DEFAULT_REFIT if sequential is None else "sequential" if sequential else "one-shot"


def _calibration(
    source: Path, criteria: Sequence[str], files: list[Path] | None, refit: Refit | None, steps: Steps
) -> Calibration | None:
    if not files:
        return None
    from prunebench.calibration.text_calibration import TextCalibration

    return TextCalibration(source, files, criteria, refit=refit, progress=steps.reach)


def _print(pruned: list[PrunedCheckpoint], addresses: list[str], *, as_json: bool) -> None:
    if as_json:
        rows = [{"folder": str(one.folder), **one.manifest.model_dump(mode="json")} for one in pruned]
        pushed = [{"pushed_to": address} for address in addresses] or [{} for _ in rows]
        out.print_json(json.dumps([row | more for row, more in zip(rows, pushed, strict=True)]))
        return
    for one in pruned:
        made = one.manifest
        print_line(f"{one.folder}: {'; '.join(_shape(made))}")
        for line in _cost(made):
            print_line(f"  {line}")
    for address in addresses:
        print_line(f"pushed to {address}")


def _shape(made: Manifest) -> list[str]:
    """What was removed, and what is left."""
    tied = sum(layer.ties_at_cut > 1 for layer in made.layers)
    words = []
    if made.width < made.source_width or not made.removed_layers:
        words.append(
            f"width {made.width}, expansion ratio {made.expansion_ratio:.4g}, {made.pruning_percentage:.1f} % removed"
        )
        words.append(f"scores tied at the cut in {tied} of {len(made.layers)} MLPs")
    if made.removed_layers and made.source_layers:
        gone = ", ".join(str(one.layer) for one in made.removed_layers)
        left = made.source_layers - len(made.removed_layers)
        words.append(f"{left} of {made.source_layers} layers, without {gone} (chosen in this order, counted from 0)")
    return words


def _cost(made: Manifest) -> list[str]:
    """What is known of a calibrated prune's cost."""
    lines = []
    if (found := made.held_out) is not None:
        if found.perplexity_before is None or found.perplexity_after is None:
            lines.append(f"no perplexity: {found.reason}")
        else:
            lines.append(
                f"perplexity on {found.tokens:,} tokens held out of the text: {found.perplexity_before:.2f} before, "
                f"{found.perplexity_after:.2f} after, {found.perplexity_after / found.perplexity_before:.3f} times"
            )
    if unreached := sum(layer.calibration_tokens == 0 for layer in made.layers):
        lines.append(f"{unreached} of {len(made.layers)} MLPs saw no token of the text: scored by their weights alone")
    return lines
