"""Tokens per second of our embedded engine beside Hugging Face `generate` and, if asked, vLLM, on one random model.

    python -P -m benchmarks.server.engine --threads 1 --new-tokens 64 --repeats 5 --vllm --output engine.json

A Llama of 32 million parameters with random float32 weights, greedy, fixed output length, prompts of 32 tokens; prompt
processing is included. Each repeat visits every engine once in shuffled order, so that a busy moment hits all alike.
`generate` gets all prompts as one batch, which is the best it can do; the engines get them as separate requests.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks.server.random_llama import save_random_llama
from server.engines.base import Engine, SamplingOptions
from server.engines.transformers.engine import TransformersEngine

PROMPT_TOKENS = 32
VOCABULARY = 8192
SIZES = {"hidden": 512, "width": 1792, "layers": 8, "heads": 8, "key_value_heads": 4, "context": 1024}
Runner = Callable[[list[list[int]], int], Awaitable[float]]  # prompts, new tokens → seconds


def generate_runner(folder: Path, threads: int) -> Runner:
    torch.set_num_threads(threads)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    async def run(prompts: list[list[int]], new_tokens: int) -> float:
        ids = torch.tensor(prompts)
        start = time.perf_counter()
        with torch.inference_mode():
            output = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=new_tokens,
                do_sample=False,
                pad_token_id=0,
            )
        seconds = time.perf_counter() - start
        assert output.shape[1] == PROMPT_TOKENS + new_tokens
        return seconds

    return run


def engine_runner(engine: Engine) -> Runner:
    async def answer(index: int, prompt: list[int], options: SamplingOptions) -> int:
        return sum([len(delta.token_ids) async for delta in engine.generate(f"request-{index}", prompt, options)])

    async def run(prompts: list[list[int]], new_tokens: int) -> float:
        options = SamplingOptions(max_tokens=new_tokens, temperature=0, ignore_eos=True)
        start = time.perf_counter()
        counts = await asyncio.gather(*(answer(i, prompt, options) for i, prompt in enumerate(prompts)))
        seconds = time.perf_counter() - start
        assert counts == [new_tokens] * len(prompts)
        return seconds

    return run


async def measure(runners: dict[str, Runner], arguments: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """Tokens per second: streams → engine → one figure a repeat. Every repeat has prompts of its own."""
    found: dict[str, dict[str, list[float]]] = {}
    shuffle = random.Random(0)
    for streams in arguments.streams:
        rates: dict[str, list[float]] = {name: [] for name in runners}
        for repeat in range(-1, arguments.repeats):  # the first one only warms up
            prompts = [[shuffle.randrange(VOCABULARY) for _ in range(PROMPT_TOKENS)] for _ in range(streams)]
            for name in shuffle.sample(list(runners), len(runners)):
                seconds = await runners[name](prompts, arguments.new_tokens)
                if repeat >= 0:
                    rates[name].append(streams * arguments.new_tokens / seconds)
        found[str(streams)] = rates
    return found


def summarise(rates: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, dict[str, float]]]:
    """Medians, and medians of each repeat's ratio to `generate`: neighbours in time are the fairest to compare."""
    summary: dict[str, dict[str, dict[str, float]]] = {}
    for streams, engines in rates.items():
        base = engines["generate"]
        summary[streams] = {
            name: {
                "tokens_per_second": statistics.median(values),
                "ratio_to_generate": statistics.median(a / b for a, b in zip(values, base, strict=True)),
            }
            for name, values in engines.items()
        }
    return summary


async def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parameters = save_random_llama(folder, vocabulary=VOCABULARY, **SIZES)
        async with AsyncExitStack() as stack:
            slots = {"device": "cpu", "threads": str(arguments.threads), "max_num_seqs": str(max(arguments.streams))}
            ours = TransformersEngine(folder, slots)
            engines: dict[str, Engine] = {"prunebench": ours}
            if arguments.vllm:
                from server.engines.vllm.engine import VllmEngine

                engines["vllm"] = VllmEngine(folder, {"dtype": "float32", "enable_prefix_caching": "false"})
            for engine in engines.values():
                await engine.start()
                stack.push_async_callback(engine.shutdown)
            runners = {"generate": generate_runner(folder, arguments.threads)}
            runners |= {name: engine_runner(engine) for name, engine in engines.items()}
            rates = await measure(runners, arguments)
            versions = {name: engine.info.version for name, engine in engines.items()}
    return {
        "parameters": parameters,
        "threads": arguments.threads,
        "new_tokens": arguments.new_tokens,
        "prompt_tokens": PROMPT_TOKENS,
        "versions": versions | {"generate": transformers.__version__, "torch": torch.__version__},
        "tokens_per_second": rates,
        "summary": summarise(rates),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=1, help="of generate and our engine; vLLM binds its own cores")
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--vllm", action="store_true", help="also start vLLM, eager on a CPU")
    parser.add_argument("--output", type=Path, help="write every figure as JSON")
    arguments = parser.parse_args()
    result = asyncio.run(compare(arguments))
    print(f"{result['parameters'] / 1e6:.1f} M parameters, {arguments.threads} thread(s), tokens/s (ratio to generate)")
    for streams, engines in result["summary"].items():
        parts = [f"{n} {v['tokens_per_second']:.0f} ({v['ratio_to_generate']:.2f})" for n, v in engines.items()]
        print(f"{streams:>3} streams: " + "   ".join(parts))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
