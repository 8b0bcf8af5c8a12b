"""Targets, and the widths that they give."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pruner.errors import PruneError

TargetKind = Literal["ratio", "percentage", "width"]
_FLAGS: dict[TargetKind, str] = {
    "ratio": "--expansion-ratio",
    "percentage": "--pruning-percentage",
    "width": "--intermediate-size",
}
_FAR = 1e15  # wider than any model: a product beyond floats is no integer


def require_targets(targets: Sequence[Target], remove_layers: Sequence[int] = ()) -> None:
    """Raises PruneError if there is nothing to remove."""
    if not targets and not any(remove_layers):
        raise PruneError(f"give at least one of {', '.join(_FLAGS.values())}, --remove-layers")


@dataclass(frozen=True)
class Target:
    """How narrow the MLPs are to become.

    Target("ratio", 3.6)       width is the integer nearest to 3.6 x hidden size
    Target("percentage", 10)   a tenth of the neurons is removed; optipfair's rounding, so its widths
    Target("width", 7373)      exactly 7373 neurons stay
    """

    kind: TargetKind
    value: float

    def __post_init__(self) -> None:
        if isinstance(self.value, int) and abs(self.value) > _FAR:  # which may be beyond floats
            object.__setattr__(self, "value", math.inf if self.value > 0 else -math.inf)

    def __str__(self) -> str:
        return f"{self.kind} {self.value:.12g}"

    @property
    def flag(self) -> str:
        """The target as a command-line flag, for messages."""
        return f"{_FLAGS[self.kind]} {self.value:.12g}"

    def width(self, source_width: int, hidden_size: int, multiple_of: int = 1) -> int:
        """Neurons that stay, of `source_width`; with `multiple_of` the nearest multiple, ties up, never above the source.

        Raises:
            PruneError: the target is out of range for this checkpoint.

        """
        width = self._exact_width(source_width, hidden_size)
        if not 1 <= width <= source_width:
            raise PruneError(f"{self.flag}: gives width {width}, this checkpoint allows 1 to {source_width}")
        if not 1 <= multiple_of <= source_width:
            raise PruneError(f"--multiple-of {multiple_of}: must be between 1 and the source's width {source_width}")
        nearest = (2 * width + multiple_of) // (2 * multiple_of) * multiple_of
        largest = source_width // multiple_of * multiple_of
        return min(max(nearest, multiple_of), largest)

    def _exact_width(self, source_width: int, hidden_size: int) -> int:
        if not math.isfinite(self.value):
            raise PruneError(f"{self.flag}: must be a finite number")
        if self.kind == "percentage":
            if not 0 <= self.value < 100:
                raise PruneError(f"{self.flag}: must be at least 0 and below 100")
            # The order of operations matters: 29 % of 25600 is 7423 neurons in floating point, as in the study's widths.
            return source_width - int(self.value / 100 * source_width)
        if self.kind == "ratio":
            return math.floor(max(-_FAR, min(self.value * hidden_size, _FAR)) + 0.5)
        if self.value != int(self.value):
            raise PruneError(f"{self.flag}: must be a whole number")
        return int(self.value)
