"""The quality of a configuration: perplexity, next tokens, and the scores of tasks."""

from __future__ import annotations

from typing import Literal

from base.records import Record
from energy.records import WindowEnergy


class Quality(Record):
    """Held-out quality of one configuration, measured through its own endpoint."""

    perplexity: float | None  # exp(mean negative log-likelihood per token)
    standard_error: float | None  # of the perplexity, from the spread over windows of text
    tokens: int
    text: str  # the evaluated text, in words
    text_sha256: str
    tokens_sha256: str | None = None  # of the token ids that were scored; None: recorded before this was
    # Of the scored text, in UTF-8; None: its tokens' places in the text are not known, or recorded before this was.
    bytes: int | None = None
    bits_per_byte: float | None = None
    window_nats: list[float] = []  # negative log-likelihood of each window; empty: recorded before this was
    window_tokens: list[int] = []
    windows_sha256: str | None = None  # the same of two configurations whose windows are the same text
    reason: str | None = None  # why perplexity is None


class NextTokens(Record):
    """Next tokens of a checkpoint against the baseline's, over windows of held-out text; empty with a `reason`."""

    kl_nats: list[float] = []  # by window: the mean over its positions of KL(baseline || own)
    agreement: list[float] = []  # by window: the share of positions at which both prefer the same token
    tokens: int = 0
    text: str = ""  # the text, in words
    reason: str | None = None


class EvaluationSettings(Record):
    """The settings of a quality task, enough to repeat it; the same for all configurations of a run."""

    backend: Literal["endpoint", "in-process"]
    harness: str  # "lm-eval 0.4.13"
    chat_template: bool
    limit: int | None  # the most items per task; None: all
    seeds: dict[str, int]


class Score(Record):
    """One metric of one task, as lm-eval reports it."""

    metric: str  # "acc_norm"
    filter: str  # "none" where the task post-processes nothing
    value: float
    standard_error: float | None  # None if neither lm-eval nor the items give one
    higher_is_better: bool


class TaskResult(Record):
    """One quality task on one configuration: every score, the items' values, and the cost in time and energy.

    `values` and `weights` belong to the first score, one entry per item in the data set's order. For `statistic` "mean" the score
    is mean(values), without weights; for "perplexity" it is exp(-sum(values) / sum(weights)), where values are log-likelihoods
    and weights are words or bytes. They are empty if the score is neither. Two configurations are compared item by item with them.
    """

    task: str
    version: str | None = None  # the task's own, from its YAML
    shots: int | None = None  # examples before each question
    scores: list[Score] = []  # the headline first
    statistic: Literal["mean", "perplexity"] | None = None
    values: list[float] = []
    weights: list[float] = []
    chance: float | None = None  # the score of guessing; None: unknown, not recorded, or a perplexity
    items: int = 0
    reason: str | None = None  # why there are no scores
    seconds: float = 0.0  # from the first question to the last answer
    tokens: int | None = None  # prompt and output tokens, counted by the server; None if it does not report them
    energy: WindowEnergy | None = None  # over those seconds
    evaluated_at: str
    reused: bool = False  # of an earlier run, with the same weights, tokenizer, engine, machine and settings
    settings: EvaluationSettings
