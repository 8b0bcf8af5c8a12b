"""Processes that have imported vLLM, forked from one that did nothing else.

vLLM's core is forked too, as on a GPU; on a CPU vLLM starts it anew, which the demo's test does.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.support.environment import environment
from tests.support.forks import Forked, Forks


class VllmForks:
    """Starts processes that have imported vLLM."""

    def __init__(self) -> None:
        self._forks = Forks(_import)

    def start(self, log: Path, function: Callable[..., object], *arguments: object) -> Forked:
        """Run a function in a process of its own, with the environment variables of now; what it prints goes to `log`."""
        log.touch()
        return self._forks.start(_run, function, arguments, environment(), log)

    def close(self) -> None:
        self._forks.close()


def _import() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"  # torch's threads would not live on in a fork
    from server.engines.vllm import interface

    os.environ.setdefault(interface.LOG_LEVEL, "WARNING")
    interface.import_vllm()
    import vllm.benchmarks.serve
    import vllm.entrypoints.openai.api_server
    import vllm.model_executor.models.llama
    import vllm.v1.engine.utils
    import vllm.v1.worker.cpu_worker

    import server.serve  # noqa: F401

    vllm.v1.engine.utils.get_mp_context = lambda: multiprocessing.get_context("fork")


def _run(function: Callable[..., object], arguments: Sequence[object], variables: dict[str, str], log: Path) -> None:
    with log.open("ab") as printed:
        os.dup2(printed.fileno(), 1)
        os.dup2(printed.fileno(), 2)
    os.environ.clear()
    os.environ.update(variables)
    tempfile.tempdir = None
    # A server's event loop learns of signals through a file descriptor, to which a fork would write its own.
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
    try:
        sys.exit(function(*arguments))
    finally:
        atexit._run_exitfuncs()  # which a fork leaves out


def serve(settings: str) -> int:
    """`prunebench serve` with settings as JSON."""
    from server.serve import serve
    from server.settings import ServeSettings

    return serve(ServeSettings.model_validate_json(settings))


def run_module(name: str, *words: str) -> None:
    """`python -m NAME WORDS`."""
    sys.argv = [name, *words]
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def bench(*words: str) -> None:
    """`vllm bench serve WORDS`; the command itself asks for the metadata of a package named vllm, which vLLM's build for CPUs lacks."""
    from vllm.benchmarks.serve import add_cli_args, main
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = FlexibleArgumentParser()
    add_cli_args(parser)
    main(parser.parse_args(words))


def generate(prompt: list[int], folders: Sequence[Path]) -> None:
    """Print the 16 tokens that each checkpoint goes on with."""
    from vllm import LLM, SamplingParams

    greedy = SamplingParams(temperature=0, max_tokens=16, ignore_eos=True, detokenize=False)
    for folder in folders:
        llm = LLM(str(folder), skip_tokenizer_init=True, enforce_eager=True, max_model_len=64, dtype="float32")
        (result,) = llm.generate([{"prompt_token_ids": prompt}], greedy, use_tqdm=False)
        sys.stdout.write(f"TOKENS {list(result.outputs[0].token_ids)}\n")
        sys.stdout.flush()
        del llm
