"""The exit status of `prunebench load`, and what is on disk whatever it is."""

from __future__ import annotations

import json

import pytest

from loadgen.endpoint import LoadError
from loadgen.records.schema import Flag
from prunebench.load.fail_on import chosen_checks, failed_checks
from tests.loadgen.scripted import RESET, ScriptedServer, stream

MODELS = b'{"data": [{"id": "m"}]}'
LOAD = ["--model", "m", "--prompts", "p.txt", "--requests", 10, "--warmup-requests", 0, "--output-tokens", 2]


def mostly_broken(_, asked):
    return stream(2, token_s=0.002) if asked.body["prompt"] == "good" else [RESET]


@pytest.fixture(scope="module")
def broken():
    """A server that breaks the connection of every bad prompt."""
    with ScriptedServer(mostly_broken, pages={"/v1/models": lambda: MODELS}) as server:
        yield server.url


@pytest.mark.parametrize(
    ("words", "status"), [([], 1), (["--fail-on", "none"], 0), (["--fail-on", "load-interrupted,saturated:warn"], 0)]
)
def test_a_load_of_which_nine_in_ten_failed(broken, prunebench, tmp_path, words, status):
    (tmp_path / "p.txt").write_text("good\n" + "bad\n" * 9)
    done = prunebench("load", broken, *LOAD, "--output", "out", *words)
    assert done.returncode == status, done.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["completed"], summary["failed"]) == (1, 9)
    assert (tmp_path / "out" / "requests.parquet").exists()
    assert "timeout" not in done.stdout
    assert ("exit status 1, by --fail-on: failed-requests" in done.stderr) == (status == 1)


def test_an_unknown_check_is_one_line_with_the_known_ones(prunebench):
    done = prunebench("load", "http://127.0.0.1:9", "--model", "m", "--output", "out", "--fail-on", "latency")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--fail-on latency: no check of a load; there are " in done.stderr


def test_checks_are_named_with_commas_or_one_by_one():
    assert chosen_checks(["saturated, throttled:warn", "gpu-shared"]) == {"saturated", "throttled:warn", "gpu-shared"}
    assert chosen_checks(["none"]) == frozenset()
    with pytest.raises(LoadError, match="none does not go with other checks"):
        chosen_checks(["none,saturated"])
    with pytest.raises(LoadError, match="no check of a load"):
        chosen_checks(["hosts-differ"])  # of whole runs


def test_a_warning_counts_where_that_is_asked_for():
    flags = [Flag(check="saturated", outcome="warn", reason=""), Flag(check="throttled", outcome="fail", reason="")]
    assert failed_checks(flags, {"saturated", "throttled"}) == ["throttled"]
    assert failed_checks(flags, {"saturated:warn", "throttled:warn"}) == ["saturated", "throttled"]
