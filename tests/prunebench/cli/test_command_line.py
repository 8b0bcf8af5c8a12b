"""The tests' own way of running commands: quick unless the test changes what a new process would see."""

import pytest

from tests.prunebench import command_line
from tests.support.environment import begin_test


def refuse(*_words, **_options):
    raise AssertionError("a new process")


def test_a_command_is_forked_unless_the_test_changed_the_environment(monkeypatch, prunebench):
    monkeypatch.setattr(command_line.subprocess, "run", refuse)
    assert prunebench("--version").returncode == 0
    monkeypatch.setenv("NO_COLOR", "1")
    with pytest.raises(AssertionError, match="a new process"):
        prunebench("--version")
    begin_test()  # as if a library had changed it while tests were collected
    assert prunebench("--version").returncode == 0
