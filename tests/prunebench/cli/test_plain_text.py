"""Every command into a pipe, and in a terminal where NO_COLOR, CI or TERM=dumb asks for plain text: no escape code and no bar."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from prunebench.servers.commands import ServerCommand
from prunebench.servers.process import start_server
from tests.prunebench.conftest import SYNTHETIC, TINYGLU
from tests.prunebench.terminal.screen import run_in_terminal
from tests.reports.compare.test_runs import small
from tests.reports.example_run import Example, write_run

ONE_CELL_A_WIDTH = SYNTHETIC[: SYNTHETIC.rindex("[[workloads]]")].replace("blocks = 2", "blocks = 1")
DEMAND = "--requests-per-day 1000 --prompt-tokens 64 --output-tokens 32"
SHORT = "--prompt-tokens 8 --output-tokens 4 --fail-on none"
# The command, and a word of what it prints.
COMMANDS = {
    "": "Three things to do first",
    "load --help": "Examples:",
    "doctor": "engines",
    "inspect TINYGLU": "width 1024",
    "init TINYGLU": "experiment.toml",
    "prune TINYGLU --output out --expansion-ratio 2": "width-512",
    "schema": "$schema",
    "report BEFORE --format csv": "BEFORE",
    "compare BEFORE AFTER": "TPOT",
    f"plan BEFORE {DEMAND}": "GPU",
    "published": "survive",
    "energy idle --duration 1": "nvml",
    f"load URL --requests 3 {SHORT} --workload concurrency --concurrency 1": "TTFT",
    f"load URL {SHORT} --workload sweep --duration 1": "rate",
    "evaluate URL --tokenizer TINYGLU": "perplexity",
    "run tiny.toml --dry-run": "measured",
}
WITH_BARS_AND_TABLES = {
    **{
        line: word
        for line, word in COMMANDS.items()
        if line.partition(" ")[0] in {"inspect", "compare", "load", "evaluate"}
    },
    "run tiny.toml": "report.html",
}
BAR = re.compile("[━╸╺█▏▎▍▌▋▊▉]{4}")


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> dict[str, str]:
    """What the words in capitals stand for."""
    folder = tmp_path_factory.mktemp("places")
    runs = {word: str(write_run(folder / word, Example(**small()))) for word in ("BEFORE", "AFTER")}
    command = ServerCommand(TINYGLU, "tinyglu", "synthetic", {"prefill_ms": "2", "token_ms": "1"}, None)
    server = start_server(command, folder / "log", start_timeout_s=60, request_timeout_s=10)
    yield {**runs, "URL": server.endpoint.url, "TINYGLU": str(TINYGLU)}
    server.stop()


@pytest.fixture
def typed(places, tmp_path: Path):
    """The words of a line, in a folder with an experiment."""
    (tmp_path / "tiny.toml").write_text(ONE_CELL_A_WIDTH)
    return lambda line: [places.get(word, word) for word in line.split()]


def assert_plain(output: str) -> None:
    assert "\x1b" not in output
    assert not BAR.search(output)
    assert "Traceback" not in output


@pytest.mark.parametrize("line", COMMANDS)
def test_into_a_pipe(line, typed, prunebench):
    done = prunebench(*typed(line))
    assert COMMANDS[line] in done.stdout + done.stderr
    assert_plain(done.stdout + done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("line", WITH_BARS_AND_TABLES)
def test_in_a_terminal_with_no_color(line, typed, tmp_path):
    _, sent = run_in_terminal(*typed(line), folder=tmp_path, environment={"NO_COLOR": "1"})
    assert WITH_BARS_AND_TABLES[line] in sent
    assert_plain(sent)


@pytest.mark.parametrize("variable", ["CI=1", "TERM=dumb"])
def test_in_a_terminal_of_a_ci_job_and_in_one_that_is_dumb(variable, typed, tmp_path):
    line = "prune TINYGLU --output out --expansion-ratio 2"
    _, sent = run_in_terminal(*typed(line), folder=tmp_path, environment=dict([variable.split("=")]))
    assert "pruning: 100 %" in sent
    assert_plain(sent)


def test_an_ordinary_terminal_gets_a_bar(typed, tmp_path):
    _, sent = run_in_terminal(*typed("prune TINYGLU --output out --expansion-ratio 2"), folder=tmp_path)
    assert BAR.search(sent)
