"""What the HTTP layer costs: our server, vLLM's own, and the engine without either, on one nano model, in one run.

    python -P -m benchmarks.server.throughput --repeats 5 --output server.json

A random one-layer Llama of 0.7 million parameters, so small that the API layer is most of the work. The same engine
settings for all: vLLM, eager on a CPU, one process for the engine's core each.

    engine          `AsyncLLM.generate` on uvloop without detokenizing, as vLLM starts it
    engine, placed  the same, giving way to the processes that vLLM starts, as our server does
    ours, vllm      the servers, streaming to the same client, which does as little as can be, in a process of its own

The client gives way to the servers' engines too: on a machine of few cores it would else run on the core where a worker
computes, and the figures would show where it happened to be put. The engine alone needs none, so that its figure includes
neither a client nor the kernel's share of a connection. `streams` requests are always in flight, `--rounds` of them one after
another in each stream. Each repeat visits every number of streams and every system once in shuffled order, with a pause before
each, since a vLLM that has just been busy goes on polling for a second; ratios are taken within a repeat. TTFT: sent to first
event read, or for the engine alone called to first token.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import multiprocessing
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import uvloop
from scipy import stats

from benchmarks.server.load import VOCABULARY, Figures, Load, be_client, offer
from benchmarks.server.process import ROOT, START_S, server, wait_until_healthy
from server.machine.cpu_affinity import yield_cores_to

ENGINE = {
    "dtype": "float32",
    "enforce_eager": True,
    "max_model_len": 512,
    "max_num_batched_tokens": 2048,
    "kv_cache_memory_bytes": 2**29,
    "enable_prefix_caching": False,
    "disable_log_stats": True,
}
SIZES = {"hidden": 128, "width": 384, "layers": 1, "heads": 4, "key_value_heads": 2, "context": 512}
_LEAST_SEQUENCES = 128  # so that runs at fewer streams have the same engine, and can be added
_SETTLE_S = 1.5  # vLLM's processes go on polling for a second after their last request


def make_checkpoint(folder: Path) -> None:
    """The nano model, with TinyGLU's tokenizer."""
    from benchmarks.server.random_llama import save_random_llama

    save_random_llama(folder, vocabulary=VOCABULARY, **SIZES)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(ROOT / "examples" / "tinyglu" / name, folder)


def be_engine(pipe: Connection, folder: Path, most_streams: int, placed: bool) -> None:
    """The process of the engine without a server: answers each (anything, Load) with Figures until it gets None."""

    async def run() -> None:
        from vllm import AsyncEngineArgs, SamplingParams
        from vllm.inputs import tokens_input
        from vllm.sampling_params import RequestOutputKind
        from vllm.v1.engine.async_llm import AsyncLLM

        arguments = AsyncEngineArgs(model=str(folder), max_num_seqs=most_streams, skip_tokenizer_init=True, **ENGINE)
        engine = AsyncLLM.from_engine_args(arguments)
        if placed:
            yield_cores_to(children(os.getpid()))
        count = 0

        async def ask(prompt: list[int]) -> float:
            nonlocal count
            count += 1
            parameters = SamplingParams(
                max_tokens=load.new_tokens,
                temperature=0,
                ignore_eos=True,
                detokenize=False,
                output_kind=RequestOutputKind.DELTA,
            )
            sent = time.perf_counter()
            first, tokens = 0.0, 0
            async for output in engine.generate(tokens_input(prompt), parameters, str(count)):
                first = first or time.perf_counter()
                tokens += len(output.outputs[0].token_ids)
            assert tokens == load.new_tokens
            return (first - sent) * 1e3

        pipe.send("ready")
        loop = asyncio.get_running_loop()
        while (given := await loop.run_in_executor(None, pipe.recv)) is not None:
            _, load = given
            pipe.send(await offer(load, ask))
        engine.shutdown()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


@contextlib.contextmanager
def process(target: Callable[..., None], *arguments: object) -> Iterator[Connection]:
    """A spawned process of our own, and the pipe to it."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    child = spawn.Process(target=target, args=(theirs, *arguments))
    child.start()
    try:
        yield ours
        ours.send(None)
        child.join(30)
    finally:
        child.kill()
        child.join()


def children(process_id: int) -> list[int]:
    """All processes it has begun, and theirs."""
    return [child.pid for child in psutil.Process(process_id).children(recursive=True)]


def our_arguments(folder: Path, most_streams: int) -> list[str]:
    options = {**ENGINE, "max_num_seqs": most_streams}
    given = [f"--engine-option={key}={str(value).lower()}" for key, value in options.items()]
    return ["-m", "prunebench", "serve", str(folder), "--engine", "vllm", "--served-model-name", "nano", *given]


def their_arguments(folder: Path, most_streams: int) -> list[str]:
    options = {**ENGINE, "max_num_seqs": most_streams}
    words = ["-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), "--served-model-name", "nano"]
    words += ["--disable-uvicorn-access-log"]
    for key, value in options.items():
        flag = key.replace("_", "-")
        words += [f"--{flag}" if value else f"--no-{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
    return words


def measure(systems: dict[str, Callable[[Load], Figures]], arguments: argparse.Namespace) -> dict[str, Any]:
    """Figures: streams → system → one entry a repeat."""
    shuffle = random.Random(0)
    found: dict[str, Any] = {str(n): {name: [] for name in systems} for n in arguments.streams}
    for repeat in range(-1, arguments.repeats):  # the first one only warms up
        for streams in shuffle.sample(arguments.streams, len(arguments.streams)):
            load = Load(
                streams, arguments.rounds if streams > 1 else 2 * arguments.rounds, arguments.new_tokens, repeat
            )
            for name in shuffle.sample(list(systems), len(systems)):
                time.sleep(_SETTLE_S)
                figures = systems[name](load)
                if repeat >= 0:
                    found[str(streams)][name].append(asdict(figures))
    return found


def summarise(found: dict[str, Any]) -> dict[str, Any]:
    """Medians, and the geometric mean of each repeat's ratio to the engine alone with its 95 % interval (Student's t)."""
    summary: dict[str, Any] = {}
    for streams, systems in found.items():
        summary[streams] = {}
        for name, repeats in systems.items():
            medians = {key: statistics.median(one[key] for one in repeats) for key in repeats[0]}
            pairs = zip(repeats, systems["engine"], strict=True)
            logs = [math.log(one["tokens_per_second"] / alone["tokens_per_second"]) for one, alone in pairs]
            within = stats.t.ppf(0.975, len(logs) - 1) * stats.sem(logs) if len(logs) > 1 else math.nan
            mean = statistics.mean(logs)
            low, ratio, high = (math.exp(value) for value in (mean - within, mean, mean + within))
            summary[streams][name] = {**medians, "ratio_to_engine": ratio, "ratio_interval": [low, high]}
    return summary


def join(found: dict[str, Any], earlier: dict[str, Any]) -> dict[str, Any]:
    """The repeats of both, for every number of streams that either has."""
    both: dict[str, Any] = {streams: dict(systems) for streams, systems in earlier.items()}
    for streams, systems in found.items():
        before = both.setdefault(streams, {})
        for name, repeats in systems.items():
            before[name] = before.get(name, []) + repeats
    return both


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    most = max(_LEAST_SEQUENCES, *arguments.streams)
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as stack:
        scratch = Path(temporary)
        folder = scratch / "nano"
        make_checkpoint(folder)
        alone = {
            name: stack.enter_context(process(be_engine, folder, most, placed))
            for name, placed in (("engine", False), ("engine, placed", True))
        }
        served = {
            name: stack.enter_context(server(words, scratch / f"{name}.log"))
            for name, words in (("ours", our_arguments(folder, most)), ("vllm", their_arguments(folder, most)))
        }
        for name, (url, process_id) in served.items():
            wait_until_healthy(url, scratch / f"{name}.log", process_id)
        for name, engine in alone.items():
            if not engine.poll(START_S) or engine.recv() != "ready":
                raise TimeoutError(f"{name} did not start")
        engines = [child for _, process_id in served.values() for child in children(process_id)]
        client = stack.enter_context(process(be_client, engines))

        def asking(pipe: Connection, url: str = "") -> Callable[[Load], Figures]:
            def ask(load: Load) -> Figures:
                pipe.send((url, load))
                figures: Figures = pipe.recv()
                return figures

            return ask

        systems = {name: asking(engine) for name, engine in alone.items()}
        systems |= {name: asking(client, url) for name, (url, _) in served.items()}
        found = measure(systems, arguments)
    if arguments.add:
        found = join(found, json.loads(arguments.add.read_text())["figures"])
    return {"engine_options": ENGINE, "cores": os.cpu_count(), "figures": found, "summary": summarise(found)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--rounds", type=int, default=3, help="requests of each stream; twice as many of a single one")
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--add", type=Path, help="an earlier run's output, whose repeats count too")
    parser.add_argument("--output", type=Path, help="write every figure as JSON")
    arguments = parser.parse_args()
    result = compare(arguments)
    print("streams  system          tokens/s  of engine             TTFT median / p99, ms")
    for streams, systems in result["summary"].items():
        for name, row in systems.items():
            low, high = row["ratio_interval"]
            print(
                f"{streams:>7}  {name:<14} {row['tokens_per_second']:>9.0f} {row['ratio_to_engine']:>10.2f} ({low:.2f} to {high:.2f})   "
                f"{row['median_ttft_ms']:.1f} / {row['p99_ttft_ms']:.1f}"
            )
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
