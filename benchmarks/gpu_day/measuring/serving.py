"""Stage e: our server beside its engine alone, on the random Llama, at each number of streams; and beside vLLM's server where it is.

`e/transformers.json` is rewritten after each repeat; `e/vllm.json` is that of `benchmarks/server/throughput.py`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import random
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.gpu_day.measuring.checkpoint import random_llama
from benchmarks.gpu_day.profiles import Profile, own_folder, stage_parser
from benchmarks.server.load import Figures, Load, offer, offer_to_server
from benchmarks.server.process import server, wait_until_healthy
from benchmarks.server.throughput import summarise
from server.engines.base import SamplingOptions
from server.engines.transformers.engine import TransformersEngine

_CONTEXT = 256
_SHARE, _SHARE_BEFORE_VLLM = 0.8, 0.4  # of the stage's time, after which no repeat begins
_VLLM_S = 120.0  # with less it is left out


def main() -> None:
    """Transformers, then vLLM."""
    options = stage_parser(__doc__).parse_args()
    began = time.monotonic()
    folder = own_folder(options.work, "e")
    source = random_llama(options.work, options.profile.shape)
    has_vllm = importlib.util.find_spec("vllm") is not None and options.seconds > 2 * _VLLM_S
    until = began + (_SHARE_BEFORE_VLLM if has_vllm else _SHARE) * options.seconds
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_compare(source, options.profile, folder, until))
    if has_vllm:
        streams = [f"{count}" for count in options.profile.streams]
        words = ["-P", "-m", "benchmarks.server.throughput", "--streams", *streams, "--rounds", "1", "--repeats", "2"]
        subprocess.run([sys.executable, *words, "--output", f"{folder / 'vllm.json'}"], check=True)


async def _compare(source: Path, profile: Profile, folder: Path, until: float) -> None:
    given = {"device": profile.device, "dtype": profile.dtype, "max_model_len": _CONTEXT}
    given["max_num_seqs"] = max(profile.streams)
    engine = TransformersEngine(source, {key: f"{value}" for key, value in given.items()})
    words = ["-P", "-m", "prunebench", "serve", f"{source}", "--engine", "transformers", "--served-model-name", "nano"]
    words += [f"--engine-option={key}={value}" for key, value in given.items()]
    with server(words, folder / "server.log") as (url, process_id):
        await engine.start()
        wait_until_healthy(url, folder / "server.log", process_id)
        count = 0

        async def ask(prompt: list[int]) -> float:
            nonlocal count
            count += 1
            options = SamplingOptions(max_tokens=profile.output_tokens, temperature=0, ignore_eos=True)
            sent, first = time.perf_counter(), 0.0
            async for _ in engine.generate(f"{count}", prompt, options):
                first = first or time.perf_counter()
            return (first - sent) * 1e3

        async def measure(name: str, load: Load) -> Figures:
            return await (offer(load, ask) if name == "engine" else offer_to_server(url, load))

        shuffle = random.Random(0)
        found: dict[str, dict[str, list[dict[str, Any]]]] = {}
        for repeat in range(-1, profile.most_repeats):  # the first one only warms up
            if repeat > 0 and time.monotonic() > until:
                break
            for streams in shuffle.sample(profile.streams, len(profile.streams)):
                load = Load(streams, 2 if streams == 1 else 1, profile.output_tokens, repeat)
                for name in shuffle.sample(["engine", "ours"], 2):
                    figures = await measure(name, load)
                    if repeat >= 0:
                        found.setdefault(f"{streams}", {}).setdefault(name, []).append(asdict(figures))
            if repeat >= 0:
                _write(folder, engine, given, found)
        await engine.shutdown()


def _write(folder: Path, engine: TransformersEngine, given: dict[str, Any], found: dict[str, Any]) -> None:
    """Figures with their summary, by streams and system; a ratio to the engine needs two repeats for its interval."""
    summary = summarise(found)
    for systems in summary.values():
        for row in systems.values():
            row["ratio_interval"] = [None if value != value else value for value in row["ratio_interval"]]  # noqa: PLR0124
    result = {"version": engine.info.version, "options": given, "figures": found, "summary": summary}
    (folder / "transformers.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
