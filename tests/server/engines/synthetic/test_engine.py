from __future__ import annotations

import asyncio
import math
import time
from contextlib import aclosing

import pytest

from energy.meters.base import Reading
from energy.sampler import Sampler
from server.engines.base import EngineDeadError, EngineError, SamplingOptions
from server.engines.synthetic.engine import SyntheticEngine
from server.engines.synthetic.meter import SyntheticMeter


def started(**options):
    engine = SyntheticEngine(None, {"vocab": "100", **{key: str(value) for key, value in options.items()}})
    asyncio.run(engine.start())
    return engine


def run(engine, *, prompt=(7,), request_id="r", **options):
    async def collect():
        async with aclosing(engine.generate(request_id, prompt, SamplingOptions(**options))) as deltas:
            return [(time.perf_counter(), delta) async for delta in deltas]

    return asyncio.run(collect())


def tokens(timed):
    return [token for _, delta in timed for token in delta.token_ids]


def test_it_counts_on_from_the_prompt():
    assert tokens(run(started(prefill_ms=0, token_ms=0), prompt=[3, 96], max_tokens=5)) == [97, 98, 0, 1, 2]


def test_no_token_comes_long_before_it_is_due_and_delays_do_not_add_up():
    begun = time.perf_counter()
    timed = run(started(prefill_ms=30, token_ms=5), max_tokens=20)
    due = [begun + 0.030 + 0.005 * i for i in range(20)]
    early = [at - when for (at, _), when in zip(timed, due, strict=True)]
    assert min(early) > -0.002
    assert early[-1] < 0.2


def test_the_same_request_has_the_same_jitter():
    engine = started(prefill_ms=1, token_ms=1, jitter_ms=50, seed=3)
    options = SamplingOptions(max_tokens=6)
    first, again = (list(engine._schedule([1, 2], options, 0.0)) for _ in range(2))
    assert first == again
    assert [due for _, due in first] != [due for _, due in engine._schedule([9], options, 0.0)]
    assert [due for _, due in first] == sorted(due for _, due in first)


def test_a_chunk_is_due_with_its_last_token():
    engine = started(prefill_ms=10, token_ms=4, chunk_tokens=3)
    scheduled = [
        (len(d.token_ids), round(due, 6)) for d, due in engine._schedule([1], SamplingOptions(max_tokens=7), 0.0)
    ]
    assert scheduled == [(3, 0.018), (3, 0.030), (1, 0.034)]


def test_only_the_last_delta_has_a_finish_reason():
    reasons = [delta.finish_reason for _, delta in run(started(prefill_ms=0, token_ms=0), max_tokens=4)]
    assert reasons == [None, None, None, "length"]


def test_it_ends_by_itself_at_its_natural_length_unless_it_ignores_that():
    engine = started(prefill_ms=0, token_ms=0, natural_length=3)
    stopped = run(engine, max_tokens=10)
    assert tokens(stopped) == [8, 9, 99]
    assert stopped[-1][1].finish_reason == "stop"
    assert len(tokens(run(engine, max_tokens=10, ignore_eos=True))) == 10
    assert len(tokens(run(engine, max_tokens=10, min_tokens=6))) == 7


def test_a_stop_token_ends_a_request_once_min_tokens_are_there():
    engine = started(prefill_ms=0, token_ms=0)
    assert tokens(run(engine, max_tokens=10, stop_token_ids=(9,))) == [8, 9]
    assert len(tokens(run(engine, max_tokens=10, stop_token_ids=(9,), min_tokens=5))) == 10


def test_an_aborted_request_ends_with_that_reason_and_frees_its_place():
    engine = started(prefill_ms=60_000)

    async def abort_soon():
        async with aclosing(engine.generate("r", [1], SamplingOptions(max_tokens=5))) as deltas:
            waiting = asyncio.ensure_future(anext(deltas))
            await asyncio.sleep(0.01)
            assert engine.load().running == 1
            await engine.abort("r")
            delta = await waiting
        assert delta.finish_reason == "abort"
        assert engine.load().running == 0

    asyncio.run(abort_soon())


def test_a_cancelled_consumer_frees_its_place():
    engine = started(prefill_ms=60_000)

    async def cancel_soon():
        async def consume():
            async for _ in engine.generate("r", [1], SamplingOptions(max_tokens=5)):
                pass

        task = asyncio.create_task(consume())
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert engine.load().running == 0

    asyncio.run(cancel_soon())


def test_it_dies_for_good_after_that_many_tokens():
    engine = started(prefill_ms=0, token_ms=0, fail_after=3)
    with pytest.raises(EngineDeadError):
        run(engine, max_tokens=10)
    for dead in (engine.check_health(), engine.prompt_logprobs([1], 0)):
        with pytest.raises(EngineDeadError):
            asyncio.run(dead)
    with pytest.raises(EngineDeadError):
        run(engine, max_tokens=1)


def test_its_death_wakes_requests_that_sleep():
    engine = started(prefill_ms=1, token_ms=60_000, fail_after=2)

    async def consume(request_id):
        async for _ in engine.generate(request_id, [1], SamplingOptions(max_tokens=10)):
            pass

    async def both():
        async with asyncio.timeout(10):
            return await asyncio.gather(consume("a"), consume("b"), return_exceptions=True)

    assert [type(result) for result in asyncio.run(both())] == [EngineDeadError, EngineDeadError]


def test_its_probabilities_add_up_to_one():
    engine = started()
    whole = engine._logprob(7, 50, 100)
    assert len(whole.top) == 100
    assert math.isclose(sum(math.exp(p) for p in whole.top.values()), 1)
    assert max(whole.top, key=whole.top.__getitem__) == 8


def test_prompt_logprobs_hold_the_actual_token_and_the_likeliest():
    first, greedy, other = asyncio.run(started(prefill_ms=0).prompt_logprobs([7, 8, 50], 1))
    assert first is None
    assert greedy.top == {8: greedy.logprob}
    assert set(other.top) == {9, 50}
    assert other.top[50] == other.logprob < other.top[9]


def test_joules_are_the_exact_integral_of_the_power_curve():
    meter = SyntheticMeter(idle_watts=50, active_watts=10)
    start = meter.read()
    time.sleep(0.02)
    before_the_change = meter.read()
    meter.set_running(3)
    after_the_change = meter.read()
    time.sleep(0.03)
    end = meter.read()

    def seconds(first: Reading, last: Reading) -> float:
        return (last.after_ns - first.after_ns) / 1e9

    def joules(first: Reading, last: Reading) -> float:
        return last.joules - first.joules

    change_s = seconds(before_the_change, after_the_change)
    assert math.isclose(joules(start, before_the_change), 50 * seconds(start, before_the_change), rel_tol=1e-9)
    assert math.isclose(joules(after_the_change, end), 80 * seconds(after_the_change, end), rel_tol=1e-9)
    assert 50 * change_s - 1e-9 <= joules(before_the_change, after_the_change) <= 80 * change_s + 1e-9
    assert end.watts == 80


def test_running_requests_draw_power_and_finished_ones_do_not():
    engine = started(prefill_ms=40, token_ms=0, idle_watts=10, active_watts=1000)
    sampler = Sampler([engine.meters()[0]], [], 0.005)
    begun = time.perf_counter()
    run(engine, max_tokens=1)
    elapsed = time.perf_counter() - begun
    spent = engine.meters()[0].read().joules
    sampler.stop()
    assert 0.9 * 0.040 * 1000 < spent < elapsed * 1010 + 5
    assert engine.meters()[0].read().watts == 10
    (row,) = sampler.counters().meters
    assert row.info.source == "synthetic"
    assert row.joules > 0


@pytest.mark.parametrize(
    ("key", "value"), [("prefill_ms", "-1"), ("token_ms", "fast"), ("speed", "9"), ("chunk_tokens", "0")]
)
def test_options_it_cannot_use_are_named(key, value):
    with pytest.raises(EngineError, match=f"--engine-option {key}: "):
        SyntheticEngine(None, {key: value})


def test_an_unknown_option_is_answered_with_the_nearest_one():
    with pytest.raises(EngineError, match="--engine-option tokens_ms: there is no such option; did you mean token_ms"):
        SyntheticEngine(None, {"tokens_ms": "5"})


def test_its_vocabulary_is_the_tokenizers(checkpoint, tmp_path, tokenizer):
    engine = SyntheticEngine(checkpoint, {})
    asyncio.run(engine.start())
    assert engine.info.vocabulary == tokenizer.vocabulary
    with pytest.raises(EngineError, match=r"tokenizer\.json: not found"):
        asyncio.run(SyntheticEngine(tmp_path, {}).start())
