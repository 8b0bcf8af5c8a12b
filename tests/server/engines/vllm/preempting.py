"""A vLLM whose cache is too small for what it is asked, in a process of its own: `python -m tests.server.engines.vllm.preempting FOLDER`.

Prints its count of preemptions before and after.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from server.engines.vllm.engine import VllmEngine
from tests.server.engines.tiny_model import prompts
from tests.server.engines.transformers.test_engine import crowd

OPTIONS = {"dtype": "float32", "disable_log_stats": "false", "num_gpu_blocks_override": "9"}


async def squeeze(folder: Path) -> tuple[int | None, int | None]:
    engine = VllmEngine(folder, OPTIONS)
    await engine.start()
    try:
        before = engine.load().preemptions
        await crowd(engine, prompts(4, longest=40), max_tokens=400, ignore_eos=True)
        return before, engine.load().preemptions
    finally:
        await engine.shutdown()


if __name__ == "__main__":
    counts = asyncio.run(squeeze(Path(sys.argv[1])))
    sys.stdout.write(f"{counts[0]} {counts[1]}\n")
