"""Help that helps: examples that parse, few options first, and what to type when nothing was typed."""

import os
import shlex
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from prunebench.cli import app
from prunebench.terminal.command_help import panels_of
from tests.support.captured import captured

GROUP = typer.main.get_command(app)


def commands(group: Any = GROUP, above: str = "prunebench") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        words = f"{above} {name}"
        yield from commands(command, words) if hasattr(command, "commands") else [(words, command)]


COMMANDS = dict(commands())


def shown_examples(text: str) -> list[str]:
    section = text.partition("\nExamples:\n")[2].partition("\n\n")[0]
    lines = section.replace("\\\n", "").splitlines()
    return [" ".join(line.split()) for line in lines if line.startswith("  prunebench ")]


def parse(line: str) -> None:
    """Raises what the command line would complain of."""
    words = shlex.split(line.partition(" > ")[0])[1:]
    command = GROUP
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context(line, words)


@pytest.mark.parametrize("words", COMMANDS)
def test_the_help_of_a_command_begins_with_examples_that_parse(words: str):
    command = COMMANDS[words]
    text = command.get_help(typer.Context(command, info_name=words))
    examples = shown_examples(text)
    assert any(line.startswith(words) for line in examples)
    assert text.index("Examples:") < text.index("Help:")
    for line in examples:
        parse(line)


@pytest.mark.parametrize("columns", [80, 100])
@pytest.mark.parametrize("words", COMMANDS)
def test_the_help_of_a_command_is_as_wide_as_the_terminal_at_most(words: str, columns: int):
    text = COMMANDS[words].get_help(typer.Context(COMMANDS[words], info_name=words, terminal_width=columns))
    assert [line for line in text.splitlines() if len(line) > columns] == []


@pytest.mark.parametrize("words", COMMANDS)
def test_five_options_at_most_come_before_the_panels_and_none_is_lost(words: str):
    panels = panels_of(COMMANDS[words])
    assert len(panels.get("Options", [])) <= 5
    options = [parameter for parameter in COMMANDS[words].params if parameter.param_type_name == "option"]
    assert sorted(o.name for panel in panels.values() for o in panel) == sorted(o.name for o in options)


def test_an_example_that_no_longer_parses_is_found():
    with pytest.raises(Exception, match="--no-such"):
        parse("prunebench inspect ./model --no-such 1")


def test_prunebench_alone_names_the_three_things_to_do_first(prunebench):
    done = prunebench()
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.strip() for line in done.stdout.splitlines() if line.startswith("  prunebench ")]
    assert len(lines) == 3
    for line in lines:
        parse(line)
        assert line in prunebench("--help").stdout


def test_a_group_alone_prints_its_help(prunebench):
    done = prunebench("energy")
    assert (done.returncode, done.stderr) == (0, "")
    assert "watch" in done.stdout


def test_a_wrong_option_names_the_help_that_lists_the_right_ones(prunebench):
    assert prunebench("prune", "--exmaple").stderr.rstrip().endswith("; see `prunebench prune --help`")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("prunebench insp", "inspect"),
        ("prunebench prune --expa", "--expansion-ratio"),
        ("prunebench energy w", "watch"),
    ],
)
def test_a_shell_completes_commands_and_options(line: str, expected: str):
    words = len(line.split()) - 1
    shell = {"_PRUNEBENCH_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": f"{words}"}
    done = captured([sys.executable, "-P", "-m", "prunebench"], env={**os.environ, **shell}, timeout=60)
    assert done.stdout.split() == [expected], done.stderr


def test_the_shell_is_offered_every_command_without_importing_one():
    code = "import sys; from prunebench.cli import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    shell = {"_PRUNEBENCH_COMPLETE": "complete_bash", "COMP_WORDS": "prunebench ", "COMP_CWORD": "1"}
    done = captured([sys.executable, "-P", "-c", code], env={**os.environ, **shell})
    assert {words.split()[1] for words in COMMANDS} == set(done.stdout.split())
    assert "prunebench.commands" not in done.stderr
