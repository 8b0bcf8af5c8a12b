from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engines.base import Delta, EngineDeadError, SamplingOptions
from server.engines.synthetic.engine import SyntheticEngine
from server.generation import Generator, Job, PieceCollector
from server.monitoring.metrics import Metrics
from server.text.stopping import StopStrings
from tests.server.text.test_stopping import expected


class Scripted(SyntheticEngine):
    """The synthetic engine, but what it says is written down in the test."""

    def __init__(self, deltas):
        super().__init__(None, {"vocab": "400"})
        self.deltas = deltas
        self.closed = False

    async def generate(self, request_id, prompt, options):
        try:
            for delta in self.deltas:
                yield delta
        finally:
            self.closed = True


def job(index=0, *, stop=(), max_tokens=100, min_tokens=0, keep_stop=False, **options):
    sampling = SamplingOptions(max_tokens=max_tokens, min_tokens=min_tokens, **options)
    return Job(f"r{index}", index, [5], sampling, stop=stop, keep_stop=keep_stop)


def generate(engine, tokenizer, jobs):
    """All pieces of all jobs."""

    async def run():
        generator = Generator(engine, tokenizer, Metrics("m", engine.load))
        async with aclosing(generator.pieces(jobs)) as pieces:
            return [piece async for piece in pieces]

    return asyncio.run(run())


def deltas_of(token_ids, sizes, finish):
    deltas, at = [], 0
    for size in sizes:
        deltas.append(Delta(token_ids[at : at + size]))
        at += size
    return [*deltas, Delta(token_ids[at:], None, finish)]


@given(
    token_ids=st.lists(st.integers(2, 399), max_size=30),
    sizes=st.lists(st.integers(0, 4), max_size=10),
    stops=st.lists(st.text("the aàéo日", min_size=1, max_size=3), max_size=3),
)
def test_text_and_tokens_end_at_the_first_stop_string_however_tokens_come(tokenizer, token_ids, sizes, stops):
    pieces = generate(Scripted(deltas_of(token_ids, sizes, "length")), tokenizer, [job(stop=stops)])
    whole = tokenizer.decode(token_ids, skip_special_tokens=True)
    text, stop = expected(whole, stops)
    assert "".join(piece.text for piece in pieces) == text
    assert pieces[-1].stop_reason == stop
    assert pieces[-1].finish_reason == ("length" if stop is None else "stop")
    sent = [token_id for piece in pieces for token_id in piece.token_ids]
    assert sent == token_ids[: pieces[-1].tokens]
    if stop is not None:  # and not one token more than it took
        watch = StopStrings(stops, keep_in_text=False)
        watch.push(tokenizer.decode(sent[:-1], skip_special_tokens=True).rstrip("\ufffd"))
        assert watch.found is None


def test_every_delta_is_a_piece_even_without_text(tokenizer):
    bytes_of = [i for i in range(400) if tokenizer.token_text(i) in {r"bytes:\xf0", r"bytes:\x9f"}]
    pieces = generate(
        Scripted([Delta([bytes_of[0]]), Delta([bytes_of[1]]), Delta([], None, "length")]), tokenizer, [job()]
    )
    assert [piece.tokens for piece in pieces] == [1, 2, 2]
    assert pieces[0].text == pieces[1].text == ""


def test_a_stop_string_closes_the_engines_stream(tokenizer):
    the = tokenizer.encode("the", add_special_tokens=False)
    engine = Scripted([Delta(the)] * 50)
    pieces = generate(engine, tokenizer, [job(stop=["thethe"])])
    assert pieces[-1].tokens == 2 * len(the)
    assert engine.closed


def test_the_end_of_sequence_is_counted_and_not_written(tokenizer):
    the = tokenizer.encode("the", add_special_tokens=False)
    pieces = generate(Scripted([Delta([*the, *the], None, "stop")]), tokenizer, [job()])
    assert pieces[0].text == "the"
    assert pieces[0].tokens == 2
    assert pieces[0].stop_reason is None


def test_a_stop_token_is_named_and_written_only_when_asked(tokenizer):
    (the,) = tokenizer.encode("the", add_special_tokens=False)
    script = [Delta([the, the], None, "stop")]
    (piece,) = generate(Scripted(script), tokenizer, [job(stop_token_ids=(the,), keep_stop=True)])
    assert (piece.text, piece.stop_reason) == ("thethe", the)


def test_stop_strings_wait_for_min_tokens(tokenizer):
    (the,) = tokenizer.encode("the", add_special_tokens=False)
    pieces = generate(Scripted([Delta([the])] * 10), tokenizer, [job(stop=["the"], min_tokens=3)])
    assert pieces[-1].tokens == 4
    assert "".join(piece.text for piece in pieces) == "the" * 3


def test_a_stop_string_that_begins_within_min_tokens_counts(tokenizer):
    """As in vLLM, also its part that came before is left out."""
    (the,) = tokenizer.encode("the", add_special_tokens=False)
    pieces = generate(Scripted([Delta([the])] * 10), tokenizer, [job(stop=["hethe"], min_tokens=3)])
    assert pieces[-1].tokens == 4
    assert "".join(piece.text for piece in pieces) == "thethet"


def test_jobs_run_at_the_same_time_and_come_out_in_order(tokenizer):
    engine = SyntheticEngine(None, {"vocab": "400", "prefill_ms": "5", "token_ms": "1"})

    async def run():
        await engine.start()
        generator = Generator(engine, tokenizer, Metrics("m", engine.load))
        jobs = [job(index, max_tokens=3 + index) for index in range(3)]
        async with aclosing(generator.pieces(jobs)) as pieces:
            gathering = PieceCollector()
            async for piece in pieces:
                gathering.add(piece)
            return gathering.whole()

    done = asyncio.run(run())
    assert [(piece.index, piece.tokens) for piece in done] == [(0, 3), (1, 4), (2, 5)]


def test_one_failing_job_ends_them_all(tokenizer):
    engine = SyntheticEngine(None, {"vocab": "400", "prefill_ms": "1", "token_ms": "1", "fail_after": "10"})

    async def run():
        await engine.start()
        generator = Generator(engine, tokenizer, Metrics("m", engine.load))
        jobs = [job(0), job(1), job(2)]
        async with aclosing(generator.pieces(jobs)) as pieces:
            with pytest.raises(EngineDeadError):
                async for _ in pieces:
                    pass
        assert engine.load().running == 0

    asyncio.run(run())
