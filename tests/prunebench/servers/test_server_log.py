"""What a server's log is quoted for: the cause where it names one, not whatever was written last."""

from __future__ import annotations

from pathlib import Path

import pytest

from prunebench.servers.server_log import how_it_ended, last_words

VLLM = """\
(Worker pid=9) ERROR 11-30 19:18:19 [executor.py:1063] RuntimeError: expect A to be bfloat16 or half.
(EngineCore pid=8) ERROR 11-30 19:18:19 [core.py:1512] RuntimeError: Worker failed with error 'expect A to be half.'
(MainProcess pid=7) ERROR 11-30 19:18:19 [llm.py:906] vllm.v1.engine.exceptions.EngineDeadError: EngineCore had an issue.
prunebench serve: the engine has died: vLLM's engine core is not running
"""
WARNING = "tracker.py:254: UserWarning: there appear to be leaked objects\n  warnings.warn('there appear to be %d '\n"


@pytest.mark.parametrize(
    ("log", "status", "said"),
    [
        (VLLM + WARNING, 3, "status 3: RuntimeError: Worker failed with error 'expect A to be half.'"),
        ("prunebench serve: loading\nprunebench: no such file\n" + WARNING, 1, "status 1: prunebench: no such file"),
        ("loading\nstopping\n", 1, "status 1: stopping"),
        (VLLM + "loading\n", -9, "signal SIGKILL (the kernel sends it when memory runs out): loading"),
    ],
)
def test_an_end_is_told_by_its_cause(tmp_path: Path, log: str, status: int, said: str):
    file = tmp_path / "server.log"
    file.write_text(log)
    assert how_it_ended(status, file) == f"the server ended with {said}"


def test_what_an_earlier_server_wrote_is_not_its_cause(tmp_path: Path):
    file = tmp_path / "server.log"
    file.write_text(VLLM + "loading\n")
    assert how_it_ended(1, file, len(VLLM)) == "the server ended with status 1: loading"
    assert last_words(file, file.stat().st_size) == f"its log is empty ({file})"
