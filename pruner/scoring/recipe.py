"""Recipes: how to prune, beside the source and the targets. Several in one prune are compared at the same widths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from pruner.errors import PruneError
from pruner.scoring.calibration import CalibrationText
from pruner.scoring.criteria import Criterion, find_criterion, needing_text
from pruner.scoring.selection import TieBreak


@dataclass(frozen=True)
class Recipe:
    """One way to choose neurons, and what is done to those that stay.

    `seed` is None unless the criterion draws scores at random. `calibration` is None without a text; where another recipe of
    the same prune needs one, it measures what this one costs. `prefix` begins the names of its outputs; empty for a single one.
    """

    criterion: Criterion
    seed: int | None
    calibration: CalibrationText | None
    tie_break: TieBreak
    multiple_of: int
    prefix: str = ""

    @property
    def refit(self) -> str | None:
        """How the down projections are refitted, if they are."""
        return self.calibration.refit if self.calibration else None

    @property
    def uses_text(self) -> bool:
        """Whether its outputs depend on the text."""
        return self.criterion.calibrated or self.refit is not None


def make_recipes(
    criteria: Sequence[str],
    *,
    seed: int,
    calibration: CalibrationText | None,
    multiple_of: int,
    tie_break: TieBreak,
    depth: bool,
) -> list[Recipe]:
    """One a criterion. Raises PruneError naming the option to fix."""
    if tie_break not in get_args(TieBreak):
        raise PruneError(f"--tie-break {tie_break}: must be one of {', '.join(get_args(TieBreak))}")
    if seed < 0:
        raise PruneError(f"--seed {seed}: must not be negative")
    refit = calibration is not None and calibration.refit is not None
    check_text_use(criteria, text=calibration is not None, refit=refit, depth=depth)
    recipes = []
    for criterion, prefix in zip(map(find_criterion, criteria), output_prefixes(criteria, refit=refit), strict=True):
        own = seed if criterion.seeded else None
        recipes.append(Recipe(criterion, own, calibration, tie_break, multiple_of, prefix))
    return recipes


def output_prefixes(criteria: Sequence[str], *, refit: bool) -> list[str]:
    """What the names of each criterion's outputs begin with: nothing, if there is one. Raises PruneError for one named twice."""
    if twice := next((name for name in criteria if list(criteria).count(name) > 1), None):
        raise PruneError(f"--criterion {twice}: is named twice")
    return [f"{name}-{'refit-' if refit else ''}" for name in criteria] if len(criteria) > 1 else [""]


def needs_text(criteria: Sequence[str], *, refit: bool, depth: bool) -> str | None:
    """The option that cannot do without a text; None if all can. depth: whether layers are removed."""
    asking = [f"--criterion {name}" for name in criteria if find_criterion(name).calibrated]
    asking += ["--refit"] * refit + ["--remove-layers"] * depth
    return next(iter(asking), None)


def check_text_use(criteria: Sequence[str], *, text: bool, refit: bool, depth: bool = False) -> None:
    """Raises PruneError if a text is needed and missing, or there and of no use."""
    asking = needs_text(criteria, refit=refit, depth=depth)
    if asking and not text:
        raise PruneError(f"{asking}: needs a text, --calibration FILE")
    if text and not asking:
        raise PruneError(f"--calibration: only --criterion {needing_text()}, --refit and --remove-layers use a text")
