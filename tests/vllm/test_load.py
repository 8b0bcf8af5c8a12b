"""The client against vLLM's own OpenAI server, run for real: one start for all, some 25 s on a machine that is not busy."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import time

import httpx
import psutil
import pytest

from base.network import free_port
from loadgen.client.wire import WireClient
from loadgen.endpoint import Endpoint
from loadgen.energy.source import NoEnergy
from loadgen.prompts.files import workload_prompts
from loadgen.prompts.synthetic import FilePrompts, SyntheticPrompts, make_prompts
from loadgen.trial import run_trial
from tests.loadgen.answers.whole import events, read_answer
from tests.loadgen.made import EVERY_KIND, one_of_every_kind, workload
from tests.prunebench.conftest import TINYGLU
from tests.server.engines.tiny_model import save_model, tiny_llama_config
from tests.support.health import wait_until_healthy
from tests.vllm.forks import run_module

pytestmark = [pytest.mark.vllm, pytest.mark.slow]

TOKENS, PROMPT_TOKENS = 8, 12
OPTIONS = [
    "--dtype=float32",
    "--enforce-eager",
    "--max-model-len=512",
    "--max-num-seqs=8",
    "--enable-prefix-caching",
    "--enable-prompt-tokens-details",
]
OPTIONS += ["--kv-cache-memory-bytes=67108864", "--disable-uvicorn-access-log", "--chat-template={{ messages }}"]
QUIET = {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1", "VLLM_NO_USAGE_STATS": "1"}
QUIET["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # the model in the core's process: one less that imports vLLM


@pytest.fixture(scope="module")
def process(tmp_path_factory, forks):
    """The server's process, and its URL once it is healthy."""
    folder = save_model(
        tmp_path_factory.mktemp("nano"), tiny_llama_config(vocab_size=4096, max_position_embeddings=512)
    )
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TINYGLU / name, folder)
    log, port = folder / "log", free_port()
    words = [f"--model={folder}", "--served-model-name=m", *OPTIONS, "--host=127.0.0.1", f"--port={port}"]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUIET.items():
            patch.setenv(name, value)
        started = forks.start(log, run_module, "vllm.entrypoints.openai.api_server", *words)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_healthy(url, started.poll, log, timeout_s=600)
        yield psutil.Process(started.pid), url
    finally:
        children = psutil.Process(started.pid).children(recursive=True) if started.poll() is None else []
        started.end()
        for child in children:
            if child.is_running():
                child.kill()


@pytest.fixture
def endpoint(process):
    return Endpoint(process[1], "m", timeout_s=60)


def measured(endpoint, load, prompts=None):
    prompts = prompts or SyntheticPrompts(range(10, 4000), load.prompt_tokens, seed=1)
    return run_trial(endpoint, load, prompts, seed=1, energy=NoEnergy("none here"))


async def asked(endpoint, path, begun=None, **body):
    """One request by the wire client alone."""
    body = {"model": "m", "max_tokens": TOKENS, "temperature": 0, "ignore_eos": True, **body}
    async with WireClient(endpoint) as client:
        return await client.send(client.request(path, json.dumps(body).encode()), begun)


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_a_load_of_any_kind_finds_the_tokens_that_the_server_counted(endpoint, tmp_path, kind):
    load = one_of_every_kind(kind, tmp_path)
    result = measured(endpoint, load, workload_prompts(load, 1, lambda: range(10, 4000)))
    assert {(r.error, r.output_tokens, r.counted_by, r.finish_reason) for r in result.records} == {
        (None, TOKENS, "server-continuous-usage", "length")
    }
    if not load.holds_sessions:  # whose prompts are words, and what was said before
        assert [r.prompt_tokens for r in result.records] == [load.prompt_length(1, r.index) for r in result.records]
    assert result.trial.server_generated_tokens == TOKENS * len(result.records) >= 4 * TOKENS
    assert result.trial.server_preemptions == 0
    for record in result.records:
        times = [record.sent_ns, record.headers_ns, *record.arrival_ns, record.end_ns]
        assert times == sorted(times)
        assert record.arrival_tokens[-1] == TOKENS


def test_sessions_find_the_share_of_their_prompts_that_the_engine_took_from_its_cache(endpoint):
    load = workload(
        "sessions", concurrency=2, requests=6, turns=3, prompt_as="words", prompt_tokens=70, output_tokens=TOKENS
    )
    result = measured(endpoint, load, make_prompts(load, (), 1))
    assert [r.error for r in result.records] == [None] * 6
    cached = {turn: [r.cached_tokens for r in result.records if r.turn == turn] for turn in range(3)}
    assert sum(map(sum, cached.values())) == result.trial.server_prefix_hit_tokens > 0
    assert max(cached[0]) < min(cached[2])  # what was said before is in the cache, the newest turn is not
    assert all(r.cached_tokens < r.prompt_tokens for r in result.records)


def test_a_trace_with_hash_ids_finds_in_the_cache_what_its_blocks_share(process, endpoint, tmp_path):
    """vLLM's rule: whole blocks of the beginning that an earlier prompt had whole, and never all of the prompt."""
    block = int(re.search(r'cache_config_info\{.*block_size="(\d+)"', httpx.get(f"{process[1]}/metrics").text)[1])
    rows = [(3 * block, (1, 2, 3)), (3 * block, (1, 2, 3)), (2 * block + 40, (1, 2, 4)), (3 * block + 9, (1, 2, 4, 5))]
    rows += [(3 * block + 1, (1, 2, 3, 6)), (block, (1,)), (50, (7,)), (50, (7,)), (2 * block, (8, 2))]
    file = tmp_path / "trace.jsonl"
    keys = ("timestamp", "input_length", "output_length", "hash_ids")
    file.write_text("".join(json.dumps(dict(zip(keys, (0, n, 4, ids), strict=True))) + "\n" for n, ids in rows))
    trace = workload("trace", trace=file, requests=None, block_tokens=block)
    one_at_a_time = workload("single", requests=len(rows), output_tokens=4, warmup_requests=0)
    result = measured(endpoint, one_at_a_time, make_prompts(trace, range(10, 4000), 7))
    assert [(r.error, r.prompt_tokens) for r in result.records] == [(None, length) for length, _ in rows]
    cached = [r.cached_tokens for r in result.records]
    assert cached == [held_by_the_cache(rows[:n], *row, block) for n, row in enumerate(rows)]
    assert cached == [block * blocks for blocks in (0, 2, 2, 2, 3, 0, 0, 0, 0)]
    assert sum(cached) == result.trial.server_prefix_hit_tokens


def held_by_the_cache(earlier, length, ids, block):
    """Tokens of a prompt's beginning that those before it left in the cache, where nothing is evicted."""
    whole = [their[: n // block] for n, their in earlier]
    alike = ([own == other for own, other in zip(ids, their, strict=False)] for their in whole)
    shared = max(([*each, False].index(False) for each in alike), default=0)
    return min(shared, (length - 1) // block) * block


def test_each_prompt_of_a_list_has_its_own_tokens(endpoint):
    load = workload(
        "batch", batch_size=3, batch_as="list", requests=6, output_tokens=TOKENS, prompt_tokens=PROMPT_TOKENS
    )
    result = measured(endpoint, load)
    assert [(r.error, r.output_tokens, r.prompt_tokens) for r in result.records] == [(None, TOKENS, PROMPT_TOKENS)] * 6
    assert result.trial.server_generated_tokens == 6 * TOKENS


def test_a_prompt_that_is_refused_fails_alone(endpoint):
    """In the middle of a load, with others under way before and after it."""
    texts = ["one day the girl", "a boy", "the old man went " * 400, "home", "two cats", "water"]
    load = workload("concurrency", requests=6, output_tokens=TOKENS, warmup_requests=0)
    result = measured(endpoint, load, FilePrompts(texts))
    refused = result.records[2]
    assert (refused.status, refused.output_tokens, refused.first_token_ns) == (400, None, None)
    assert "512" in refused.error
    assert [r.error for r in result.records if r.index != 2] == [None] * 5
    assert result.trial.server_generated_tokens == 5 * TOKENS


async def test_the_role_that_begins_a_chat_is_no_token(endpoint):
    exchange = await asked(
        endpoint,
        "/v1/chat/completions",
        messages=[{"role": "user", "content": "hello"}],
        stream=True,
        stream_options={"include_usage": True, "continuous_usage_stats": True},
    )
    (_, first), *_ = found = list(events(exchange.reads))
    assert json.loads(first)["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    # Chunks of one read are one arrival; on a busy machine the first read has several tokens, so each event comes alone here.
    answer = read_answer([(at + number, b"data: " + data + b"\n\n") for number, (at, data) in enumerate(found)])
    assert (answer.error, answer.incomplete, answer.counted_by) == (None, None, "server-continuous-usage")
    assert (answer.arrival_tokens[0], answer.arrival_tokens[-1], answer.output_tokens) == (1, TOKENS, TOKENS)


async def test_without_running_counts_chunks_are_counted_and_the_last_usage_is_the_total(endpoint):
    exchange = await asked(
        endpoint, "/v1/completions", prompt="hello", stream=True, stream_options={"include_usage": True}
    )
    answer = read_answer(exchange.reads)
    assert (answer.error, answer.counted_by, answer.output_tokens) == (None, "server-usage", TOKENS)
    assert answer.arrival_tokens[-1] == TOKENS


async def test_an_answer_that_is_not_streamed_comes_whole(endpoint):
    answer = read_answer((await asked(endpoint, "/v1/completions", prompt=[7, 8, 9])).reads)
    assert (answer.error, answer.prompt_tokens, answer.output_tokens, answer.finish_reason) == (
        None,
        3,
        TOKENS,
        "length",
    )
    assert answer.arrival_tokens == [TOKENS]


async def test_an_engine_killed_in_mid_stream_is_reported_and_what_came_before_stands(process, endpoint):
    """The last test of the file: nothing answers after it."""
    under_way = []
    sending = asyncio.create_task(
        asked(endpoint, "/v1/completions", under_way.append, prompt=[7, 8, 9], max_tokens=500, stream=True)
    )
    deadline = time.monotonic() + 60
    while not (under_way and len(under_way[0].ends) > 2):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)
    for child in process[0].children(recursive=True):
        child.kill()
    exchange = await sending
    answer = read_answer(exchange.reads)
    assert len(answer.arrival_ns) >= 2
    assert exchange.error or answer.error or answer.incomplete
    assert len(answer.arrival_ns) < 500
