"""Time per token behind a server that sends several tokens in a chunk: speculative decoding, stream intervals, a bundling proxy.

The truth is the engine's: it makes steps, each of which takes its time and yields the tokens accepted in it. TPOT is the mean time
from the first chunk to the last per token after the first chunk: the engine's seconds a step over its tokens a step.
"""

from __future__ import annotations

import math

import numpy as np

from loadgen.metrics.measuring.measure import measure_records
from loadgen.metrics.metrics import TrialMetrics
from loadgen.records.schema import RequestRecord
from tests.loadgen.answers.whole import read_answer
from tests.loadgen.made import MS, trial, workload
from tests.loadgen.scripted import event, token
from tests.truth.registry import Outcome, Row, simulation

SOME = trial(0, 10**6, load=workload("concurrency"))
_REQUESTS, _TOKENS = 40, 128


def _record(n: int, at_ms: list[float], counts: list[int], *, running: bool) -> RequestRecord:
    """The client's record of an answer with these chunk times; without a running usage only the total is known, at the end."""
    times = [round(ms * MS) for ms in at_ms]
    chunks = [token(usage=count if running else None) for count in counts]
    end = token("", finish="length") + event(choices=[], usage={"prompt_tokens": 3, "completion_tokens": counts[-1]})
    answer = read_answer([*zip(times, chunks, strict=True), (times[-1] + 1, end + b"data: [DONE]\n\n")])
    assert answer.error is None
    assert answer.incomplete is None
    return RequestRecord(
        f"0-{n}", n, n, 0, sent_ns=0, first_token_ns=times[0], last_token_ns=times[-1], end_ns=times[-1] + 1,
        arrival_ns=answer.arrival_ns, arrival_tokens=answer.arrival_tokens, asked_tokens=counts[-1],
        output_tokens=answer.output_tokens, finish_reason=answer.finish_reason, counted_by=answer.counted_by,
    )  # fmt: skip


def _right(found_ms: float | None, true_ms: float) -> bool:
    return found_ms is not None and abs(found_ms / true_ms - 1) < 1e-4


def _tpot_ms(metrics: TrialMetrics) -> float:
    return float(np.nanmean(metrics.tpot_ms))


def _speculative(rng: np.random.Generator, draft: int, accepted: float) -> tuple[list[float], list[int], float, int]:
    """Steps of 20 ms ± 5 %, each with one token and the accepted drafts before the first rejected one.

    Returns times and counts of its chunks, one a step, the milliseconds from the first to the last, and the tokens in those.
    """
    at_ms, count = 100.0, 0
    times, counts = [], []
    while count < _TOKENS:
        runs = rng.random(draft) < accepted
        count = min(_TOKENS, count + 1 + (draft if runs.all() else int(np.argmin(runs))))
        times.append(at_ms)
        counts.append(count)
        at_ms += 20 * math.exp(rng.normal(0, 0.05))
    return times, counts, times[-1] - times[0], counts[-1] - counts[0]


@simulation(
    short=30,
    long=3000,
    right=Row(
        "TPOT, several tokens a chunk",
        "speculative decoding, 1 to 7 drafts, 30 to 95 % accepted",
        "within 0.01 %",
        1.0,
        1.0,
    ),
    unknown=Row("TPOT without a running usage: withheld", "the same, the total at the end alone", "always", 1.0, 1.0),
)
def tpot_speculative(rng: np.random.Generator) -> Outcome:
    """Mean TPOT over requests against the engine's clock and count."""
    draft, accepted = int(rng.integers(1, 8)), rng.uniform(0.3, 0.95)
    made = [_speculative(rng, draft, accepted) for _ in range(_REQUESTS)]
    true_ms = float(np.mean([spent / tokens for _, _, spent, tokens in made]))
    found = measure_records(SOME, [_record(n, t, c, running=True) for n, (t, c, _, _) in enumerate(made)])
    blind = measure_records(SOME, [_record(n, t, c, running=False) for n, (t, c, _, _) in enumerate(made)])
    return {"right": _right(_tpot_ms(found), true_ms), "unknown": blind.tpot_reason is not None and not blind.itl_ms}


@simulation(
    short=30,
    long=3000,
    right=Row(
        "TPOT, several tokens a chunk",
        "stream intervals of 2 to 16 tokens, the first token alone or not",
        "within 0.01 %",
        1.0,
        1.0,
    ),
)
def tpot_stream_interval(rng: np.random.Generator) -> Outcome:
    """One token every 5 ms, sent in chunks of `interval`; the last chunk has the rest."""
    interval, alone = int(rng.integers(2, 17)), bool(rng.integers(2))
    firsts = 1 if alone else interval
    counts = [*range(firsts, _TOKENS, interval), _TOKENS]
    found = measure_records(
        SOME, [_record(n, [100 + 5.0 * c for c in counts], counts, running=True) for n in range(_REQUESTS)]
    )
    return {"right": _right(_tpot_ms(found), 5.0)}


@simulation(
    short=30,
    long=3000,
    right=Row("TPOT, several chunks a read", "a proxy that passes on 2 to 8 chunks at once", "within 0.01 %", 1.0, 1.0),
)
def tpot_bundling_proxy(rng: np.random.Generator) -> Outcome:
    """One token every 5 ms and chunk; a proxy buffers them until it has a bundle."""
    held = int(rng.integers(2, 9))
    at_ms = [100 + 5.0 * min(_TOKENS - 1, k // held * held + held - 1) for k in range(_TOKENS)]
    counts = list(range(1, _TOKENS + 1))
    found = [_record(n, at_ms, counts, running=n % 2 == 0) for n in range(_REQUESTS)]
    return {"right": _right(_tpot_ms(measure_records(SOME, found)), 5.0)}


@simulation(
    short=30,
    long=3000,
    right=Row(
        "mean ITL, several tokens a chunk",
        "speculative decoding, 1 to 7 drafts, 30 to 95 % accepted",
        "within 0.01 %",
        1.0,
        1.0,
    ),
)
def itl_speculative(rng: np.random.Generator) -> Outcome:
    """The mean gap per token, over all tokens after first chunks."""
    draft, accepted = int(rng.integers(1, 8)), rng.uniform(0.3, 0.95)
    made = [_speculative(rng, draft, accepted) for _ in range(_REQUESTS)]
    true_ms = sum(spent for _, _, spent, _ in made) / sum(tokens for *_, tokens in made)
    found = measure_records(SOME, [_record(n, t, c, running=True) for n, (t, c, _, _) in enumerate(made)])
    return {"right": _right(found.completed_itl.mean, true_ms)}
