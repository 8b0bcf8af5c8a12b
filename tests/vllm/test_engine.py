"""One start of a real vLLM on the CPU, and everything asked of it in turn: it takes some 25 s to come up."""

import asyncio
import os
import signal
import time

import psutil
import pytest

from server.engines.base import BadRequestError, EngineDeadError, EngineError, SamplingOptions
from server.engines.options import parse_options
from server.engines.vllm.engine import VllmEngine
from tests.server.engines.tiny_model import VOCABULARY, edit_json, prompts, save_model, tiny_llama_config
from tests.server.engines.transformers.test_engine import collect, crowd, serve

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # vLLM's imports of torch
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:Unclosed context <zmq:ResourceWarning"),  # vLLM's, once it is shut down
]


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("llama"), tiny_llama_config())


@pytest.fixture(scope="module")
def others():
    """Processes that are there before the engine's: other tests fork theirs from one of them."""
    return {child.pid for child in psutil.Process().children(recursive=True)}


@pytest.fixture(scope="module")
def vllm(llama, others):
    """A runner for coroutine functions of the started engine, all on one event loop."""
    pytest.importorskip("vllm")
    with asyncio.Runner() as runner, pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "VLLM_ENABLE_V1_MULTIPROCESSING", "0"
        )  # the model in the core's process: one less that imports vLLM
        engine = VllmEngine(llama, {"dtype": "float32", "max_num_seqs": "4"})
        runner.run(engine.start())
        yield lambda use: runner.run(use(engine))
        runner.run(engine.shutdown())
        runner.run(engine.shutdown())


def test_its_info_is_that_of_the_model(vllm):
    async def look(engine):
        await engine.check_health()
        return engine.info

    info = vllm(look)
    assert (info.name, info.dtype, info.vocabulary, info.max_model_len) == ("vllm", "float32", VOCABULARY, 1024)


def test_its_options_are_reported_as_vllm_resolved_them(vllm):
    async def look(engine):
        return engine.info

    options = vllm(look).options
    assert (options["dtype"], options["max_num_seqs"], options["max_model_len"]) == ("float32", "4", "1024")
    assert (options["attention_backend"], options["quantization"]) == ("CPU_ATTN", "None")
    assert (options["enable_prefix_caching"], options["enable_chunked_prefill"]) == ("True", "True")
    assert int(options["num_gpu_blocks"]) > 0


def test_requests_that_the_cache_can_hold_are_known_not_to_be_preempted(vllm):
    async def ask(engine):
        await crowd(engine, prompts(6, longest=40), max_tokens=24)
        return engine.load().preemptions

    assert vllm(ask) == 0


def test_both_engines_give_the_same_greedy_tokens_in_single_precision(vllm, llama):
    asked = prompts(6, longest=40)

    def ask(engine):
        return crowd(engine, asked, max_tokens=24)

    assert vllm(ask) == serve(llama, ask)


def test_both_engines_give_the_same_logprobs(vllm, llama):
    prompt = prompts(1, 60)[0]

    async def ask(engine):
        scores = await engine.prompt_logprobs(prompt, 3)
        _, logprobs, _ = await collect(engine, "r", prompt, max_tokens=5, logprobs=3)
        return scores + logprobs

    for ours, theirs in zip(serve(llama, ask), vllm(ask), strict=True):
        if ours is None:
            assert theirs is None
            continue
        assert theirs.token_id == ours.token_id
        assert theirs.logprob == pytest.approx(ours.logprob, abs=1e-3)
        assert list(theirs.top) == list(ours.top)
        assert theirs.top[theirs.token_id] == theirs.logprob


def test_output_lengths_are_those_asked_for(vllm, llama):
    prompt = prompts(1, 12)[0]

    async def ask(engine, **options):
        return await collect(engine, "r", prompt, max_tokens=12, **options)

    async def with_ends(engine):
        free = await ask(engine)
        engine._eos = frozenset({free[0][4]})  # as if the checkpoint had said so
        try:
            return free, await ask(engine), await ask(engine, ignore_eos=True), await ask(engine, min_tokens=8)
        finally:
            engine._eos = frozenset()

    free, stopped, ignored, withheld = vllm(with_ends)
    end = free[0][4]
    assert (stopped[0], stopped[2]) == (free[0][: free[0].index(end) + 1], "stop")
    assert ignored == free
    assert free[2] == "length"
    assert end not in withheld[0][:8]


def test_a_seed_repeats_a_draw(vllm):
    async def draw(engine):
        return [(await collect(engine, "r", [1, 2], max_tokens=8, temperature=1.2, seed=seed))[0] for seed in (1, 1, 2)]

    one, again, two = vllm(draw)
    assert one == again != two


def test_aborting_and_leaving_free_their_requests(vllm):
    async def stop_two_ways(engine):
        doomed = asyncio.create_task(collect(engine, "doomed", [9], max_tokens=900))
        stream = engine.generate("left", [8], SamplingOptions(max_tokens=900))
        await anext(stream)
        during = engine.load()
        await engine.abort("doomed")
        await engine.abort("unknown")
        await stream.aclose()
        return await doomed, during, engine.load()

    doomed, during, after = vllm(stop_two_ways)
    assert doomed[2] == "abort"
    assert during.running + during.waiting == 2
    assert during.kv_usage > 0
    assert (after.running, after.waiting, after.kv_usage) == (0, 0, 0)


def test_a_repeated_prompt_counts_as_prefix_hits(vllm):
    async def ask_twice(engine):
        prompt = prompts(1, 300, seed=7)[0]
        before = engine.load().prefix_hit_tokens
        await collect(engine, "a", prompt, max_tokens=1)
        first = engine.load().prefix_hit_tokens
        options = SamplingOptions(temperature=0.0, max_tokens=1)
        (said,) = {delta.cached_tokens async for delta in engine.generate("a", prompt, options)}
        return before, first, engine.load().prefix_hit_tokens, said

    before, first, second, said = vllm(ask_twice)
    assert before == first < second
    assert said == second - first


@pytest.mark.parametrize(
    ("prompt", "options", "names"),
    [
        ([], {}, "empty"),
        ([VOCABULARY], {}, "vocabulary"),  # vLLM itself would die of this one
        ([1] * 1020, {}, "context"),
        ([1], {"max_tokens": 0}, "max_tokens"),
        ([1], {"temperature": -1.0}, "temperature"),
        ([1], {"temperature": 99.0}, "temperature"),  # refused by vLLM, not by us
    ],
)
def test_a_bad_request_is_refused_and_harms_nobody(vllm, prompt, options, names):
    async def ask(engine):
        with pytest.raises(BadRequestError, match=names):
            await collect(engine, "bad", prompt, **{"max_tokens": 10} | options)
        await engine.check_health()

    vllm(ask)


@pytest.mark.parametrize(
    ("options", "names"),
    [({"max_num_seq": "4"}, "did you mean max_num_seqs"), ({"dtype": "float31"}, "dtype")],
)
def test_an_option_vllm_has_not_is_named(llama, options, names):
    pytest.importorskip("vllm")
    with pytest.raises(EngineError, match=names):
        asyncio.run(VllmEngine(llama, options).start())


def test_a_model_wider_than_its_config_is_not_started(tmp_path):
    folder = save_model(tmp_path, tiny_llama_config())
    edit_json(folder / "config.json", intermediate_size=64)
    with pytest.raises(EngineError, match="mlp"):
        asyncio.run(VllmEngine(folder, {}).start())


def test_a_killed_core_fails_the_requests_for_good(vllm, others):
    """Keep this last: nothing works afterwards."""

    async def kill(engine):
        assert os.getpid() in engine.process_ids()
        running = asyncio.create_task(collect(engine, "r", [1], max_tokens=1000))
        while engine.load().running == 0:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)
        children = [psutil.Process(pid) for pid in engine.process_ids() if pid not in {os.getpid(), *others}]
        for child in children:
            if "resource_tracker" not in " ".join(child.cmdline()):
                child.send_signal(signal.SIGKILL)
        started = time.monotonic()
        with pytest.raises(EngineDeadError):
            await running
        with pytest.raises(EngineDeadError):
            await engine.check_health()
        with pytest.raises(EngineDeadError):
            await collect(engine, "late", [1], max_tokens=1)
        return time.monotonic() - started

    assert vllm(kill) < 30


def test_the_sizes_of_several_gpus_or_hosts_are_passed_through_to_vllm():
    vllm = pytest.importorskip("vllm")
    options = {"tensor_parallel_size": "4", "pipeline_parallel_size": "2", "distributed_executor_backend": "ray"}
    arguments = vllm.AsyncEngineArgs(model="m", **parse_options(vllm.AsyncEngineArgs, options))
    assert (arguments.tensor_parallel_size, arguments.pipeline_parallel_size) == (4, 2)
    assert arguments.distributed_executor_backend == "ray"
