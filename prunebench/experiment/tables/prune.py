"""`[prune]` of an experiment file: the widths and depths to make of `[model]`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from base.choices import OneOf
from base.records import Record
from pruner.scoring.calibration import Refit
from pruner.scoring.criteria import criterion_choices, needing_text
from pruner.scoring.selection import TieBreak
from pruner.scoring.targets import Target

_OneOrMore = Annotated[str, OneOf(criterion_choices)] | list[Annotated[str, OneOf(criterion_choices)]]


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


class Prune(Record):
    """The widths and depths to make, each a configuration; the source itself is one too, the baseline. Without any of these keys the
    others are those of the configurations that are pruned.
    """

    expansion_ratios: list[float] = Field(default=[], description="Target widths as width / hidden size.")
    pruning_percentages: list[Annotated[float, Field(ge=0, lt=100)]] = Field(
        default=[], description="Target widths as the share of the source's width to remove."
    )
    widths: list[int] = Field(default=[], description="Target widths themselves.")
    remove_layers: list[Annotated[int, Field(ge=0)]] = Field(
        default=[],
        description="Whole layers to remove, as many as each number says, chosen over the calibration text. Every width is made "
        "with each; 0 keeps all layers, and without a width the source's own stays.",
    )
    criterion: Annotated[
        list[Annotated[str, OneOf(criterion_choices)]],
        BeforeValidator(_listed, json_schema_input_type=_OneOrMore),
    ] = Field(
        default=["maw"],
        min_length=1,
        description="What ranks the neurons; the highest scores stay. Of several, in a list, each is a configuration at every width.",
    )
    refit: Refit | None = Field(
        default=None,
        description="Refit the down projections to the calibration text by least squares: `one-shot`, one run of the text "
        "for all widths, or `sequential`, a run for each, on what reaches a layer of the pruned model.",
    )
    calibration: list[Path] = Field(
        default=[],
        description=f"Text, JSONL or chats for the criteria {needing_text()}, for `refit` and for `remove_layers`, which run the model; "
        "relative to the experiment file.",
    )
    seed: int = Field(default=0, ge=0, description="Seed of the `random` criterion.")
    multiple_of: int = Field(default=1, ge=1, description="Round each width to the nearest multiple of this.")
    tie_break: TieBreak = Field(
        default="stable", description="Which of equal scores stay: the lower index, or `torch.topk`'s set."
    )

    @model_validator(mode="after")
    def _no_criterion_twice(self) -> Prune:
        if twice := next((name for name in self.criterion if self.criterion.count(name) > 1), None):
            raise ValueError(f"criterion {twice} is named twice")
        return self

    @property
    def makes_any(self) -> bool:
        """Whether it asks for a width or depth by itself."""
        return bool(self.targets()) or any(self.remove_layers)

    def targets(self) -> list[Target]:
        """In the order ratios, percentages, widths."""
        return [
            *(Target("ratio", r) for r in self.expansion_ratios),
            *(Target("percentage", p) for p in self.pruning_percentages),
            *(Target("width", w) for w in self.widths),
        ]
