"""Prompts for configurations whose tokenizers differ, or are not known: the same texts, where the same ids would be other texts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from loadgen.endpoint import LoadError
from loadgen.prompts.tokens import read_tokenizer, word_tokens
from loadgen.workloads.base import Workload
from prunebench.experiment.file import Experiment
from prunebench.experiment.plan import Planned

TOKENIZER = "tokenizer.json"


def tokenizer_sha256(checkpoint: Path | None) -> str | None:
    """Identifies the tokenizer of a checkpoint; None where there is none to read."""
    if checkpoint is None or not (checkpoint / TOKENIZER).is_file():
        return None
    return hashlib.sha256((checkpoint / TOKENIZER).read_bytes()).hexdigest()


def with_same_texts(experiment: Experiment, plan: Sequence[Planned]) -> tuple[Experiment, str | None]:
    """The experiment with prompts that mean the same to every configuration, and a note if that changes them."""
    known = [tokenizer_sha256(planned.source) for planned in plan]
    if None not in known and len({*known}) == 1:
        return experiment, None
    baseline = plan[0]
    exact = baseline.source is not None and known[0] is not None and _has_words(baseline.source)
    same = {"words", "text"} if exact else {"words"}
    changed = [w.name for w in experiment.workloads if w.prompts is None and w.prompt_as not in same]
    if not changed:
        return experiment, None

    def as_text(workload: Workload) -> Workload:
        return workload.model_copy(
            update={"prompt_as": "text" if exact else "words"} if workload.name in changed else {}
        )

    why = "differ" if None not in known else f"are not all known (that of {plan[known.index(None)].label} is not)"
    length = f"tokens of {baseline.label}" if exact else "words"
    note = f"the tokenizers {why}: prompts are sent as the same text to all, and prompt_tokens counts {length}"
    return experiment.model_copy(update={"workloads": [as_text(w) for w in experiment.workloads]}), note


def _has_words(checkpoint: Path) -> bool:
    """Whether texts of an exact length can be made of its tokens."""
    try:
        return bool(word_tokens(read_tokenizer(checkpoint)))
    except LoadError:
        return False
