"""The day's machinery with stages of a few lines: one that fails, runs over or is killed never costs the others their results."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[4]
COMMAND = [sys.executable, "-P", "-m", "tests.project.benchmarks.gpu_day.small_day"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT}"}


def shell(letter: str, script: str, **fields) -> dict[str, object]:
    return {"letter": letter, "title": f"stage {letter}", "share": 0.5, "command": ["sh", "-c", script], **fields}


def start(output: Path, seconds: float, *stages: dict[str, object]) -> subprocess.Popen[bytes]:
    words = [*COMMAND, str(output), str(seconds), json.dumps(stages)]
    return subprocess.Popen(words, env={**ENVIRONMENT, "WORK": str(output / "work")}, stdout=subprocess.PIPE)


def spend(output: Path, seconds: float, *stages: dict[str, object]) -> tuple[int, dict[str, dict]]:
    """Exit status and the stages' records, of a whole day."""
    day = start(output, seconds, *stages)
    day.communicate(timeout=120)
    return day.returncode, records(output)


def records(output: Path) -> dict[str, dict]:
    return {one["letter"]: one for one in json.loads((output / "stages.json").read_text())["stages"]}


def archived(output: Path) -> dict[str, bytes]:
    with tarfile.open(output / "results.tar.gz") as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}


def test_what_a_stage_wrote_is_in_the_archive_with_its_log_and_its_record(tmp_path):
    status, found = spend(tmp_path, 60, shell("a", "echo 1 > $WORK/a.json; echo said"))
    assert (status, found["a"]["status"], found["a"]["reason"]) == (0, "done", None)
    assert sorted(found["a"]["files"]) == ["a.json", "logs/a.log"]
    held = archived(tmp_path)
    assert (held["a.json"], held["logs/a.log"]) == (b"1\n", b"said\n")
    assert json.loads(held["stages.json"]) == json.loads((tmp_path / "stages.json").read_text())


def test_a_stage_that_runs_over_is_cut_with_all_that_it_started_and_the_next_one_begins(tmp_path):
    left = "trap '' INT; sleep 9999 & echo $! >> $WORK/pids; setsid sleep 9999 & echo $! >> $WORK/pids; wait; wait"
    status, found = spend(tmp_path, 63, shell("a", left, share=0.05), shell("b", "echo 2 > $WORK/b"))
    assert (status, found["a"]["status"], found["b"]["status"]) == (1, "cut", "done")
    assert re.fullmatch(r"ran over its \d+ s", found["a"]["reason"])
    started = (tmp_path / "work" / "pids").read_text().split()
    assert len(started) == 2
    assert not [pid for pid in started if psutil.pid_exists(int(pid))]
    assert {"pids", "b"} <= archived(tmp_path).keys()


def test_a_stage_that_is_cut_can_end_by_itself_first_as_on_ctrl_c(tmp_path):
    script = "trap 'echo kept > $WORK/kept; exit' INT; while :; do sleep 0.1; done"
    _, found = spend(tmp_path, 63, shell("a", script, share=0.05))
    assert (found["a"]["status"], archived(tmp_path)["kept"]) == ("cut", b"kept\n")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo first; echo the last line >&2; exit 3", "status 3: the last line"),
        (f"{sys.executable} -c 'bytearray(2**60)'", "MemoryError"),
        ("kill -9 $$", "ended by SIGKILL, as the kernel does when memory runs out"),
    ],
    ids=["failed", "out of memory", "killed for memory"],
)
def test_a_stage_that_fails_says_why_and_the_next_one_begins(tmp_path, script, reason):
    status, found = spend(tmp_path, 60, shell("a", script), shell("b", "echo 2 > $WORK/b"))
    assert (status, found["a"]["status"], found["b"]["status"]) == (1, "failed", "done")
    assert reason in found["a"]["reason"]
    assert archived(tmp_path)["b"] == b"2\n"


def test_a_command_that_is_not_there_is_a_stage_that_failed(tmp_path):
    _, found = spend(tmp_path, 60, {**shell("a", ""), "command": ["./not-there"]})
    assert (found["a"]["status"], found["a"]["reason"]) == ("failed", "./not-there: No such file or directory")


def test_results_that_cannot_be_written_do_not_end_the_day(tmp_path):
    blocked = "rm -f {0}.partial; mkdir -p {0}.partial"  # as on a full disk, for as long as it is there
    block = "; ".join(blocked.format(tmp_path / name) for name in ("results.tar.gz", "stages.json"))
    free = f"rmdir {tmp_path}/*.partial; echo 2 > $WORK/b"
    _, found = spend(tmp_path, 60, shell("a", f"echo 1 > $WORK/a; {block}"), shell("b", free))
    assert {one["status"] for one in found.values()} == {"done"}
    assert {"a", "b"} <= archived(tmp_path).keys()


def test_what_cannot_run_or_has_no_time_is_skipped_with_the_reason(tmp_path):
    stages = shell("a", "exit 1", missing="vllm is not installed"), shell("b", "exit 1", share=0.01)
    status, found = spend(tmp_path, 60, *stages)
    assert (status, {one["status"] for one in found.values()}) == (0, {"skipped"})
    assert found["a"]["reason"] == "vllm is not installed"
    assert "s of the day were left" in found["b"]["reason"]


def test_a_second_command_of_the_day_adds_to_the_first_and_one_that_was_killed_is_named(tmp_path):
    spend(tmp_path, 60, shell("a", "echo 1 > $WORK/a"))
    day = start(tmp_path, 60, shell("b", "echo 2 > $WORK/b; sleep 9999"), shell("c", "exit 1"))
    wait_for((tmp_path / "work" / "b").exists)
    day.kill()
    day.communicate()
    assert {letter: one["status"] for letter, one in records(tmp_path).items()} == {
        "a": "done",
        "b": "running",
        "c": "planned",
    }
    _, found = spend(tmp_path, 60, shell("c", "echo 3 > $WORK/c"))
    assert {letter: one["status"] for letter, one in found.items()} == {"a": "done", "b": "cut", "c": "done"}
    assert {"a", "b", "c"} <= archived(tmp_path).keys()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("seed", range(4))
def test_a_day_that_is_ended_at_a_random_moment_has_kept_what_was_measured_and_says_so(tmp_path, number, seed):
    work = "echo {} > $WORK/{}; sleep 0.1; echo $$ > $WORK/pid"
    day = start(tmp_path, 600, *(shell(one, work.format(one, one), share=0.2) for one in "abcdef"))
    wait_for((tmp_path / "stages.json").exists)
    time.sleep(random.Random(seed * 100 + number).uniform(0, 1.5))
    day.send_signal(number)
    day.communicate(timeout=60)
    found = records(tmp_path)
    finished = [one for one in found.values() if one["status"] == "done"]
    assert not finished or {name for one in finished for name in one["files"]} <= archived(tmp_path).keys()
    assert all((tmp_path / "work" / one["letter"]).read_text().strip() == one["letter"] for one in finished)
    others = {one["status"] for one in found.values()} - {"done"}
    assert others <= ({"cut", "skipped"} if number == signal.SIGTERM else {"running", "planned"})
    assert len([one for one in found.values() if one["status"] in {"cut", "running"}]) <= 1
    if number == signal.SIGTERM:
        reasons = {one["reason"] for one in found.values() if one["status"] in {"cut", "skipped"}}
        assert reasons <= {"the day was ended by SIGTERM"}
        assert {name for one in found.values() for name in one["files"]} <= archived(tmp_path).keys()


def wait_for(condition) -> None:
    while not condition():
        time.sleep(0.02)
