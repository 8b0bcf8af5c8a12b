"""`[quality]` of an experiment file: held-out perplexity, next tokens and tasks."""

from __future__ import annotations

from pydantic import Field

from base.records import Record


class QualitySettings(Record):
    """Held-out perplexity, over text files, and quality tasks of lm-eval; `stdlib:NAME` names a file of this Python's
    standard library. Perplexity is asked on a configuration's first visit, tasks after the last trial.
    """

    perplexity_files: list[str] = Field(
        default=[], description="Held-out texts; `stdlib:NAME` is a file of this Python's standard library."
    )
    context_tokens: int = Field(default=512, ge=8, description="Length of the windows into which each text is cut.")
    max_tokens: int = Field(default=16384, ge=8, description="Read at most this much of the texts.")
    next_tokens: bool = Field(
        default=False,
        description="Also compare the next tokens over these texts with the baseline's, checkpoint by checkpoint: KL divergence and top-1 "
        "agreement. Loads two checkpoints in transformers, after the trials.",
    )
    tasks: list[str] = Field(
        default=[], description="As `evaluate --tasks`: `fragile-knowledge`, `offline`, `hellaswag`, `gsm8k:8` …"
    )
    include_paths: list[str] = Field(default=[], description="Folders with task files of your own.")
    limit: int | None = Field(default=None, ge=1, description="At most this many items a task; all without it.")
    concurrency: int = Field(default=32, ge=1, description="Prompts in flight.")
    reuse: bool = Field(
        default=False,
        description="Take results of tasks and next tokens from earlier runs on this machine, where weights, tokenizer, engine, options and "
        "settings have the same sha256, and keep new ones: ~/.cache/prunebench/quality.",
    )
