"""The prompts of a mix: those of its parts, each as of a workload of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loadgen.prompts.base import Prompt, Prompts
from loadgen.workloads.base import Workload
from loadgen.workloads.mix import MixLoad


@dataclass(frozen=True)
class MixPrompts(Prompts):
    """Those of the part that each request is of, in the order in which that part has them alone."""

    parts: Sequence[Prompts]
    workload: MixLoad
    seed: int

    def __getitem__(self, index: int) -> Prompt:
        part, n = self.workload.place(self.seed, index)
        return self.parts[part][n]

    def own_length(self, index: int) -> int | None:
        """As its part says."""
        part, n = self.workload.place(self.seed, index)
        return self.parts[part].own_length(n)

    @property
    def own_keys(self) -> frozenset[str]:
        """Those of all parts."""
        return frozenset().union(*(part.own_keys for part in self.parts))


def mix_prompts(workload: Workload, seed: int, part: Callable[[Workload, int], Prompts]) -> Prompts:
    """Those that `part` makes of a workload and a seed; of a mix, those that it makes of each part."""
    if not isinstance(workload, MixLoad):
        return part(workload, seed)
    parts = [part(one, workload.seed_of(seed, number)) for number, one in enumerate(workload.alone)]
    return MixPrompts(parts, workload, seed)
