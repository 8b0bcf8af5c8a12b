"""Every option of every command, given what no user should give it: one line and exit 2, or an honest end; never a traceback.

With `PRUNEBENCH_LONG=1` every pair of option and value is tried, otherwise a fixed twelfth of them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from prunebench.cli import app, main
from tests.prunebench.conftest import TINYGLU
from tests.support.long import short_or_long

BAD = ["", " ", "nan", "NaN", "-1", "0", "1e308", "inf", "-inf", "99999999999999999999", "FOLDER", "BINARY", "MISSING",
       "ünïcode-\u202e☃", "--", "=", "a=b=c", ",", "1,,2", "\x1b[2J", "http://[::1", "x" * 5000]  # fmt: skip
# What each command needs to get as far as its options, and not beyond: nothing here starts a server, a load or a run.
NEEDED = {
    "run": ["MISSING"],
    "host": ["--root", "MISSING"],
    "prune": ["MISSING", "--output", "NEW", "--intermediate-size", "8"],
    "inspect": ["MISSING", "--intermediate-size", "8"],
    "serve": ["MISSING"],
    "load": ["http://127.0.0.1:9", "--model", "m", "--output", "NEW"],
    "load-worker": ["127.0.0.1:9"],
    "report": ["MISSING"],
    "compare": ["MISSING", "MISSING"],
    "evaluate": ["MISSING", "--tasks", "tinyglu_form", "--output", "NEW"],
    "plan": ["MISSING", "--rate", "1"],
    "energy predict": ["MISSING", "--prompt-tokens", "8", "--output-tokens", "8"],
    "energy watch": ["--duration", "0.1"],
    "energy idle": ["--duration", "0.1"],
}
OWN_STATUSES = {"energy run": {126, 127}}  # as a shell says that a command cannot be run
STARTS_WORK = {("load", "--self-test")}  # a flag that needs no value and does what it says


def commands() -> Iterator[tuple[str, typer.main.click.Command]]:
    for name, command in typer.main.get_command(app).commands.items():
        inner = getattr(command, "commands", None)
        if inner is None:
            yield name, command
        else:
            yield from ((f"{name} {each}", found) for each, found in inner.items())


def cases() -> list[tuple[str, str, str]]:
    every = []
    for name, command in commands():
        for parameter in command.params:
            option = parameter.opts[0]
            if getattr(parameter, "is_flag", False) or option == "--help" or (name, option) in STARTS_WORK:
                continue
            every += [(name, option, value) for value in BAD]
    return every


def test_every_command_is_tried():
    assert {name for name, _ in commands()} >= set(NEEDED)
    assert len(cases()) >= 2000


@pytest.mark.parametrize("command", [name for name, _ in commands()])
def test_no_value_of_any_option_ends_in_a_traceback(command, tmp_path, monkeypatch, capsys):
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary").write_bytes(bytes(range(256)) * 8)
    places = {"FOLDER": tmp_path / "folder", "BINARY": tmp_path / "binary", "MISSING": tmp_path / "missing"}
    monkeypatch.chdir(tmp_path)
    mine = [case for case in cases() if case[0] == command]
    step = short_or_long(12, 1)
    for number, (_, option, value) in enumerate(mine):
        if (number + len(command)) % step:
            continue
        needed = [str(tmp_path / f"new-{number}") if word == "NEW" else word for word in NEEDED.get(command, [])]
        words = [*command.split(), *needed, option, value] if option.startswith("-") else [*command.split(), value]
        words = [str(places.get(word, word)) for word in words]
        status, err = attempt(words, monkeypatch, capsys)
        assert status in {0, 1, 2} | OWN_STATUSES.get(command, set()), (words, status, err)
        assert "Traceback" not in err, (words, err)
        if status == 2:
            assert len([line for line in err.splitlines() if not line.startswith("note: ")]) == 1, (words, err)


def attempt(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[object, str]:
    """Exit status and stderr. An exception that reaches here is what a user would see as a traceback."""
    monkeypatch.setattr(sys, "argv", ["prunebench", *words])
    monkeypatch.setattr(os, "execve", lambda *_: sys.exit("replaced by Locust"))  # what a good address would come to
    try:
        main()
    except SystemExit as ended:
        return ended.code or 0, capsys.readouterr().err
    except BaseException as error:  # noqa: BLE001 - any is a finding
        return repr(error), capsys.readouterr().err
    return "no exit", ""


def test_a_good_value_still_works(tmp_path, monkeypatch, capsys):
    status, _ = attempt(["inspect", str(TINYGLU), "--intermediate-size", "512"], monkeypatch, capsys)
    assert status == 0
    assert Path(TINYGLU).is_dir()
