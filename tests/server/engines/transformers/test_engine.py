import asyncio
import os
import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Gemma3TextConfig, MistralConfig, Qwen2Config, Qwen3Config

from server.engines.base import BadRequestError, EngineDeadError, SamplingOptions
from server.engines.transformers.engine import TransformersEngine
from server.engines.transformers.slot_model import SlotModel
from server.engines.transformers.slot_scheduler import CHUNK
from tests.server.engines.tiny_model import (
    VOCABULARY,
    edit_json,
    prompts,
    reference_logprobs,
    reference_model,
    reference_tokens,
    save_model,
    tiny_llama_config,
    tiny_sizes,
)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("llama"), tiny_llama_config())


def serve(folder, use, **options):
    """Start an engine on a CPU thread, run the coroutine function `use` with it, and shut it down."""

    async def session():
        engine = TransformersEngine(folder, {"device": "cpu", "threads": "1"} | options)
        await engine.start()
        try:
            return await use(engine)
        finally:
            await engine.shutdown()

    return asyncio.run(session())


async def collect(engine, request_id, prompt, **options):
    """A whole answer: tokens, log-probabilities, finish reason."""
    tokens, logprobs, reason = [], [], None
    async for delta in engine.generate(request_id, prompt, SamplingOptions(**{"temperature": 0.0} | options)):
        tokens += delta.token_ids
        logprobs += delta.logprobs or ()
        reason = delta.finish_reason
    return tokens, logprobs, reason


async def crowd(engine, asked, **options):
    """The answers' tokens to all prompts at once."""
    answers = [collect(engine, f"request-{i}", prompt, **options) for i, prompt in enumerate(asked)]
    return [tokens for tokens, _, _ in await asyncio.gather(*answers)]


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the engine's load has no event to wait for
            await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    "config",
    [
        tiny_llama_config(),
        tiny_llama_config(num_key_value_heads=4),
        Qwen2Config(**tiny_sizes()),
        Qwen3Config(**tiny_sizes(), head_dim=32),
        MistralConfig(**tiny_sizes(), head_dim=32, sliding_window=8),
        Gemma3TextConfig(
            **tiny_sizes(), head_dim=32, sliding_window=8, layer_types=["sliding_attention", "full_attention"]
        ),
    ],
    ids=["llama", "llama-without-shared-heads", "qwen2", "qwen3", "mistral-sliding", "gemma3-mixed"],
)
def test_a_crowd_of_greedy_requests_gets_the_tokens_of_generate(tmp_path, config):
    folder = save_model(tmp_path, config)
    asked = prompts(5, longest=24)
    answers = serve(folder, lambda engine: crowd(engine, asked, max_tokens=20), max_num_seqs="3")
    model = reference_model(folder)
    assert answers == [reference_tokens(model, prompt, 20) for prompt in asked]


def test_a_prompt_longer_than_a_chunk_gets_the_tokens_of_generate(llama):
    asked = prompts(3, longest=CHUNK + 150)
    answers = serve(llama, lambda engine: crowd(engine, asked, max_tokens=12))
    model = reference_model(llama)
    assert answers == [reference_tokens(model, prompt, 12) for prompt in asked]


@settings(max_examples=8, deadline=None)
@given(
    lengths=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 15)), min_size=2, max_size=7),
    delays=st.lists(st.integers(0, 3), min_size=7, max_size=7),
    seed=st.integers(0, 1000),
)
def test_a_request_gets_the_same_answer_alone_and_in_any_crowd(llama, lengths, delays, seed):
    asked = [prompts(1, length, seed + i)[0] for i, (length, _) in enumerate(lengths)]

    async def ask(engine, name, i, delay):
        await asyncio.sleep(delay / 500)
        sampling = {"temperature": 1.0, "seed": seed} if i % 3 == 2 else {}
        return await collect(engine, f"{name}-{i}", asked[i], max_tokens=lengths[i][1], logprobs=2, **sampling)

    async def both(engine):
        together = await asyncio.gather(*(ask(engine, "crowd", i, delays[i]) for i in range(len(asked))))
        return together, [await ask(engine, "alone", i, 0) for i in range(len(asked))]

    for (tokens, logprobs, _), (alone, alone_logprobs, _) in zip(*serve(llama, both, max_num_seqs="3"), strict=True):
        assert tokens == alone
        assert [one.logprob for one in logprobs] == pytest.approx([one.logprob for one in alone_logprobs], abs=1e-4)


def test_logprobs_are_those_of_the_raw_logits(llama):
    prompt = prompts(1, 20)[0]
    answer = serve(
        llama, lambda engine: collect(engine, "r", prompt, max_tokens=6, temperature=0.7, top_k=5, seed=3, logprobs=4)
    )
    tokens, logprobs, _ = answer
    expected = reference_logprobs(reference_model(llama), prompt + tokens)[len(prompt) - 1 : -1]
    for token, found, row in zip(tokens, logprobs, expected, strict=True):
        assert found.token_id == token
        assert found.logprob == pytest.approx(row[token].item(), abs=1e-4)
        assert found.top[token] == found.logprob
        assert list(found.top)[:4] == row.topk(4).indices.tolist()


def test_prompt_logprobs_are_those_of_one_forward_call_even_over_several_chunks(llama):
    prompt = prompts(1, CHUNK + 40)[0]

    async def score_among_others(engine):
        busy = asyncio.create_task(collect(engine, "r", prompt[:30], max_tokens=20))
        scores = await engine.prompt_logprobs(prompt, 3)
        await busy
        return scores

    scores = serve(llama, score_among_others)
    expected = reference_logprobs(reference_model(llama), prompt)
    assert len(scores) == len(prompt)
    assert scores[0] is None
    for position, score in enumerate(scores[1:], start=1):
        row = expected[position - 1]
        assert score.token_id == prompt[position]
        assert score.logprob == pytest.approx(row[prompt[position]].item(), abs=1e-3)
        assert set(score.top) == {*row.topk(3).indices.tolist(), prompt[position]}


def test_an_end_of_sequence_token_stops_is_counted_can_be_ignored_and_can_be_withheld(tmp_path):
    folder = save_model(tmp_path, tiny_llama_config())
    prompt = prompts(1, 12)[0]
    free = serve(folder, lambda engine: collect(engine, "r", prompt, max_tokens=12))[0]
    end = free[4]
    first = free.index(end)
    edit_json(folder / "generation_config.json", eos_token_id=[VOCABULARY - 1, end])

    async def three_ways(engine):
        stopped = await collect(engine, "a", prompt, max_tokens=12)
        ignored = await collect(engine, "b", prompt, max_tokens=12, ignore_eos=True)
        withheld = await collect(engine, "c", prompt, max_tokens=12, min_tokens=first + 3)
        named = await collect(engine, "d", prompt, max_tokens=12, ignore_eos=True, stop_token_ids=(end,))
        return stopped, ignored, withheld, named

    stopped, ignored, withheld, named = serve(folder, three_ways)
    assert (stopped[0], stopped[2]) == (free[: first + 1], "stop")
    assert (ignored[0], ignored[2]) == (free, "length")
    assert len(withheld[0]) >= first + 3
    assert end not in withheld[0][: first + 3]
    assert named == stopped


def test_a_seed_decides_and_no_seed_varies(llama):
    async def ask(engine):
        async def draw(seed):
            return tuple((await collect(engine, "r", [1, 2, 3], max_tokens=12, temperature=1.5, seed=seed))[0])

        return [await draw(seed) for seed in (1, 1, 2, None, None)]

    one, again, two, free, other = serve(llama, ask)
    assert one == again
    assert len({one, two, free, other}) == 4


def test_closing_the_stream_frees_the_only_slot(tmp_path):
    folder = save_model(tmp_path, tiny_llama_config(max_position_embeddings=30_000))

    async def leave_early(engine):
        endless = SamplingOptions(max_tokens=29_000, temperature=0)
        stream = engine.generate("first", [1, 2, 3], endless)
        await anext(stream)
        assert engine.load().running == 1
        assert engine.load().kv_usage > 0
        await stream.aclose()
        async with asyncio.timeout(10):
            answer = await collect(engine, "first", [4, 5], max_tokens=3)
        await until(lambda: engine.load().running + engine.load().waiting == 0)
        return answer, engine.load()

    (tokens, _, reason), load = serve(folder, leave_early, max_num_seqs="1", max_model_len="30000")
    assert (len(tokens), reason) == (3, "length")
    assert (load.running, load.waiting, load.kv_usage) == (0, 0, 0)


def test_aborting_ends_one_request_and_leaves_the_others_as_they_were(llama):
    async def abort_one(engine):
        doomed = asyncio.create_task(collect(engine, "doomed", [9, 9], max_tokens=900))
        queued = asyncio.create_task(collect(engine, "queued", [8, 8], max_tokens=900))
        other = asyncio.create_task(collect(engine, "other", [1, 2, 3], max_tokens=40))
        await until(lambda: engine.load().running == 2)
        await engine.abort("doomed")
        await engine.abort("queued")
        await engine.abort("unknown")
        return await doomed, await queued, await other, await collect(engine, "alone", [1, 2, 3], max_tokens=40)

    doomed, queued, other, alone = serve(llama, abort_one, max_num_seqs="2")
    assert doomed[2] == queued[2] == "abort"
    assert len(doomed[0]) < 900
    assert other == alone


@pytest.mark.parametrize(
    ("prompt", "options", "names"),
    [
        ([], {}, "empty"),
        ([VOCABULARY], {}, "vocabulary"),
        ([-1], {}, "vocabulary"),
        ([1] * 1020, {}, "context"),
        ([1], {"max_tokens": 0}, "max_tokens"),
        ([1], {"min_tokens": 11}, "min_tokens"),
        ([1], {"temperature": -0.1}, "temperature"),
        ([1], {"temperature": float("nan")}, "temperature"),
        ([1], {"top_p": 0.0}, "top_p"),
        ([1], {"repetition_penalty": 0.0}, "repetition_penalty"),
        ([1], {"logprobs": 21}, "logprobs"),
        ([1], {"seed": 2**64}, "seed"),
        ([1], {"stop_token_ids": (VOCABULARY,)}, "stop_token_ids"),
    ],
)
def test_a_bad_request_is_refused_by_name_and_harms_nobody(llama, prompt, options, names):
    async def ask(engine):
        with pytest.raises(BadRequestError, match=names):
            await collect(engine, "bad", prompt, **{"max_tokens": 10} | options)
        return await collect(engine, "good", [1], max_tokens=2)

    assert serve(llama, ask)[2] == "length"


def test_a_request_id_in_use_is_refused(llama):
    async def ask(engine):
        stream = engine.generate("same", [1], SamplingOptions(max_tokens=900))
        await anext(stream)
        with pytest.raises(BadRequestError, match="same"):
            await collect(engine, "same", [1], max_tokens=1)
        await stream.aclose()

    serve(llama, ask)


def test_a_failure_on_the_thread_kills_the_engine_for_everyone(llama, monkeypatch):
    def fail(*_):
        raise RuntimeError("the card fell out")

    async def survive(engine):
        monkeypatch.setattr(SlotModel, "decode", fail)
        waiting = [asyncio.create_task(collect(engine, f"{i}", [1, 2], max_tokens=5)) for i in range(3)]
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(result) for result in results] == [EngineDeadError] * 3
        with pytest.raises(EngineDeadError, match="the card fell out"):
            await engine.check_health()
        with pytest.raises(EngineDeadError):
            await collect(engine, "late", [1], max_tokens=1)
        with pytest.raises(EngineDeadError):
            await engine.prompt_logprobs([1, 2], 0)
        return engine.load()

    load = serve(llama, survive, max_num_seqs="2")
    assert (load.running, load.waiting) == (0, 0)


def test_shutting_down_aborts_what_runs_and_ends_the_thread(llama):
    async def stop(engine):
        running = asyncio.create_task(collect(engine, "r", [1], max_tokens=900))
        await until(lambda: engine.load().running == 1)
        await engine.shutdown()
        with pytest.raises(EngineDeadError):
            await engine.check_health()
        return await running

    assert serve(llama, stop)[2] == "abort"
    assert "transformers-engine" not in {thread.name for thread in threading.enumerate()}


def test_info_and_processes_are_reported(llama):
    async def look(engine):
        await engine.check_health()
        return engine.info, engine.process_ids()

    info, processes = serve(llama, look, dtype="bfloat16", max_model_len="128")
    assert (info.name, info.dtype, info.vocabulary, info.max_model_len) == ("transformers", "bfloat16", VOCABULARY, 128)
    assert info.options["dtype"] == info.options["kv_cache_dtype"] == "bfloat16"
    assert (info.options["max_num_seqs"], info.options["max_model_len"]) == ("16", "128")
    assert processes == [os.getpid()]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_a_crowd_gets_the_tokens_of_generate(llama):
    asked = prompts(5, longest=24)
    answers = serve(llama, lambda engine: crowd(engine, asked, max_tokens=20), device="cuda", dtype="float32")
    model = reference_model(llama)
    assert answers == [reference_tokens(model, prompt, 20) for prompt in asked]
