"""From logits to tokens: penalties, filters, seeded draws and log-probabilities, for a batch of different requests.

Names, neutral values and the order of the steps follow the OpenAI and vLLM ones. Rows that are greedy and plain cost
one argmax for the whole batch; everything else is computed only for the rows that need it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from server.engines.base import SamplingOptions, TokenLogprob

_SCORED_AT_ONCE = 64  # rows of fp32 log-probabilities held at a time: 40 MB at a vocabulary of 150,000


class SamplingState:
    """The state of one request's sampling.

    `ends` are the tokens that stop it: its own stop tokens, and the model's unless it ignores those.
    """

    def __init__(
        self,
        prompt: Sequence[int],
        options: SamplingOptions,
        eos: frozenset[int],
        vocabulary: int,
        device: torch.device,
    ) -> None:
        self.options = options
        self.ends = frozenset(options.stop_token_ids) | (frozenset() if options.ignore_eos else eos)
        self.generated = 0
        self.generator = torch.Generator(device)
        self.withheld = torch.tensor(sorted(self.ends), device=device, dtype=torch.long)
        self.counts: Tensor | None = None
        if options.seed is None:
            self.generator.seed()
        else:
            self.generator.manual_seed(options.seed)
        if _is_penalised(options):
            self.counts = torch.zeros(vocabulary, device=device)
            self.seen = torch.zeros(vocabulary, dtype=torch.bool, device=device)
            self.seen[torch.tensor(prompt, device=device)] = True

    @property
    def greedy(self) -> bool:
        """Whether the next token is the most likely one."""
        return self.options.temperature == 0

    @property
    def plain(self) -> bool:
        """Whether the raw logits are used as they are for the next token."""
        return self.counts is None and self.generated >= self.options.min_tokens

    def adjust(self, logits: Tensor) -> None:
        """Apply the request's penalties and its ban on ending early, in place, to its logits `[vocabulary]`."""
        options = self.options
        if self.generated < options.min_tokens:
            logits[self.withheld] = float("-inf")
        if self.counts is None:
            return
        penalty = options.repetition_penalty
        if penalty != 1:
            logits.copy_(torch.where(self.seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits))
        logits.sub_(self.counts * options.frequency_penalty + (self.counts > 0) * options.presence_penalty)

    def take(self, token: int) -> None:
        """Note a generated token."""
        self.generated += 1
        if self.counts is not None:
            self.counts[token] += 1
            self.seen[token] = True


def sample(logits: Tensor, states: Sequence[SamplingState]) -> list[int]:
    """The next token of each row of `logits` `[rows, vocabulary]`, which may be changed. Does not `take` it."""
    if all(state.greedy and state.plain for state in states):
        chosen: list[int] = logits.argmax(dim=-1).tolist()
        return chosen
    logits = logits.float()
    for row, state in enumerate(states):
        if not state.plain:
            state.adjust(logits[row])
    tokens: list[int] = logits.argmax(dim=-1).tolist()
    random = [row for row, state in enumerate(states) if not state.greedy]
    if random:
        drawn = _draw(logits[random] if len(random) < len(states) else logits, [states[row] for row in random])
        for row, token in zip(random, drawn, strict=True):
            tokens[row] = token
    return tokens


def _draw(logits: Tensor, states: Sequence[SamplingState]) -> list[int]:
    """One random token a row, from logits `[rows, vocabulary]` in fp32.

    The draw is an exponential race: the least of independent exponential variables with rates p comes from token i with
    probability p_i. Each row's variables come from its own generator, so a seed means the same in any batch.
    """
    options = [state.options for state in states]
    temperatures = torch.tensor([option.temperature for option in options], device=logits.device)
    # A tiny temperature must not overflow: the largest logit goes to 0 first.
    logits = (logits - logits.max(dim=-1, keepdim=True).values) / temperatures.unsqueeze(1)
    filtered = [row for row, option in enumerate(options) if option.top_p < 1 or option.top_k > 0 or option.min_p > 0]
    if filtered:
        logits[filtered] = keep_likely(logits[filtered], [options[row] for row in filtered])
    race = torch.empty_like(logits)
    for row, state in enumerate(states):
        race[row].exponential_(generator=state.generator)
    race.clamp_min_(torch.finfo(race.dtype).tiny)  # 0 of probability 0 over a draw of 0 would be NaN
    winners: list[int] = logits.softmax(dim=-1).div_(race).argmax(dim=-1).tolist()
    return winners


def keep_likely(logits: Tensor, options: Sequence[SamplingOptions]) -> Tensor:
    """Logits `[rows, vocabulary]` with -inf for tokens outside top_k, top_p or min_p; the most likely always stays."""

    def column(values: list[float]) -> Tensor:
        return torch.tensor(values, device=logits.device).unsqueeze(1)

    vocabulary = logits.shape[-1]
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)
    top_k = column([option.top_k if option.top_k > 0 else vocabulary for option in options])
    ordered = ordered.masked_fill(torch.arange(vocabulary, device=logits.device) >= top_k, float("-inf"))
    likely = ordered.softmax(dim=-1)
    before = likely.cumsum(dim=-1) - likely
    # A row without top_p must lose nothing to rounding in the sum.
    beyond = before >= column([option.top_p if option.top_p < 1 else 2.0 for option in options])
    beyond |= likely < likely[:, :1] * column([option.min_p for option in options])
    beyond[:, 0] = False
    return torch.empty_like(logits).scatter_(-1, order, ordered.masked_fill(beyond, float("-inf")))


def token_logprobs(logits: Tensor, tokens: Sequence[int], top: int) -> list[TokenLogprob]:
    """Log-probabilities of `tokens`, one a row of raw logits `[rows, vocabulary]`, and of the `top` most likely ones."""
    found: list[TokenLogprob] = []
    for start in range(0, len(tokens), _SCORED_AT_ONCE):
        some = tokens[start : start + _SCORED_AT_ONCE]
        scores = logits[start : start + len(some)].float().log_softmax(dim=-1)
        actual = scores.gather(1, torch.tensor(some, device=scores.device).unsqueeze(1)).squeeze(1).tolist()
        best, ids = scores.topk(min(top, scores.shape[-1]), dim=-1)
        for token, logprob, values, indices in zip(some, actual, best.tolist(), ids.tolist(), strict=True):
            likely = dict(zip(indices, values, strict=True))
            found.append(TokenLogprob(token, logprob, {**likely, token: logprob}))
    return found


def _is_penalised(options: SamplingOptions) -> bool:
    return options.repetition_penalty != 1 or options.presence_penalty != 0 or options.frequency_penalty != 0
