"""How many calls of ours lie between the command line and the work, counted in a real call."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

import pytest

import loadgen.trial
from prunebench.cli import main
from tests.loadgen.scripted import ScriptedServer

ROOT = Path(__file__).parents[3]
MODELS = b'{"data": [{"id": "tiny"}]}'


class ReachedError(Exception):
    """Raised where the chain is cut to be counted."""


def test_run_trial_is_three_calls_below_the_command_line(tmp_path, monkeypatch):
    def cut(_jobs):
        raise ReachedError

    monkeypatch.setattr(loadgen.trial, "Clients", cut)
    (tmp_path / "p.txt").write_text("hello there\n")
    words = ["--model", "tiny", "--output", str(tmp_path / "out"), "--prompts", str(tmp_path / "p.txt")]
    with ScriptedServer(lambda *_: [], pages={"/v1/models": lambda: MODELS}) as server:
        monkeypatch.setattr(sys, "argv", ["prunebench", "load", server.url, *words])
        with pytest.raises(ReachedError) as caught:
            main()
    assert [f"{file}:{name}" for file, name in own_frames(caught.tb)] == [
        "prunebench/cli.py:main",
        "prunebench/commands/load.py:load",
        "prunebench/load/trial.py:run",
        "loadgen/trial.py:run_trial",
    ]


def own_frames(trace):
    """The frames of a traceback that are ours, as file and function."""
    places = [(Path(frame.filename), frame.name) for frame in traceback.extract_tb(trace)]
    inside = [(file.relative_to(ROOT), name) for file, name in places if file.is_relative_to(ROOT)]
    return [(file, name) for file, name in inside if file.parts[0] in {"prunebench", "loadgen"}]
