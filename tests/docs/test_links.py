"""What the docs name is there: pages, headings, files and options; and prose is wrapped."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from prunebench.cli import app

ROOT = Path(__file__).parents[2]
PROSE = [
    *sorted(ROOT.glob("docs/**/*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")),
]
LINKED = [*PROSE, ROOT / "CHANGELOG.md", ROOT / "examples" / "tinyglu" / "README.md"]
FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")} - {
    "runs",
    "results",
}
FOLDERS_OF_CODE = (
    "prunebench",
    "reports",
    "pruner",
    "server",
    "loadgen",
    "energy",
    "base",
    "tests",
    "benchmarks",
    "examples",
)


OTHER_FILES = ("docker-compose.yml", "Dockerfile", "Makefile", "pyproject.toml")


def names(paths: list[Path]) -> dict:
    return {"argvalues": paths, "ids": [str(path.relative_to(ROOT)) for path in paths]}


@pytest.mark.parametrize("page", **names(LINKED))
def test_every_link_leads_to_a_page_and_a_heading_that_exist(page: Path):
    for target, heading in re.findall(r"\]\((?!https?:|#)<?([^)#>]+)(?:#([^)>]+))?>?\)", page.read_text("utf-8")):
        linked = page.parent / target
        assert linked.exists(), target
        if heading:
            assert heading in {_anchor(line) for line in linked.read_text("utf-8").splitlines()}, (target, heading)


@pytest.mark.parametrize("page", **names(LINKED))
def test_every_path_in_backticks_exists(page: Path):
    missing = [path for path in _paths(page.read_text("utf-8")) if not list(ROOT.glob(path))]
    assert missing == []


@pytest.mark.parametrize("page", **names(PROSE))
def test_a_module_is_named_with_its_folder(page: Path):
    bare = re.findall(r"`(\w+\.py)`", page.read_text("utf-8"))
    assert [name for name in bare if not (ROOT / name).exists() and name != "__init__.py"] == []


def test_every_page_that_code_names_exists():
    for folder in FOLDERS_OF_CODE:
        for path in [*ROOT.joinpath(folder).rglob("*.py"), *map(ROOT.joinpath, OTHER_FILES)]:
            for named in re.findall(r"(?<![\w/.])docs/[\w/-]+\.(?:md|png)", path.read_text("utf-8")):
                assert (ROOT / named).is_file() or path.name == "test_changed.py", (path, named)


@pytest.mark.parametrize("page", **names(PROSE))
def test_prose_is_wrapped_at_100_columns(page: Path):
    assert [line for line in _prose(page.read_text("utf-8")) if len(line) > 100] == []


@pytest.mark.parametrize("page", **names(PROSE))
def test_every_command_in_a_code_block_is_one(page: Path):
    for words in _commands(page.read_text("utf-8")):
        known = _options(words)
        assert known is not None, words
        given = [word.partition("=")[0].strip("[]()") for word in words if word.lstrip("[(").startswith("--")]
        assert [option for option in given if option not in known] == [], words


def _anchor(heading: str) -> str:
    """The fragment that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lstrip("# ").lower()).replace(" ", "-")


def _paths(text: str) -> Iterator[str]:
    """Paths from the root in backticks; `…` and capitals in place of a name are patterns, and no paths."""
    for quoted in re.findall(r"`([^`\n]+)`", text):
        path = re.split(r"[:\s]", quoted.strip())[0].rstrip("/")
        if re.fullmatch(r"[\w./*-]+", path) and "/" in path and path.split("/")[0] in FOLDERS:
            yield path


def _prose(text: str) -> Iterator[str]:
    fenced = False
    for line in text.splitlines():
        fenced ^= line.lstrip().startswith("```")
        if not (fenced or line.startswith(("|", "    ", "![")) or line.lstrip().startswith("```")):
            yield line


def _commands(text: str) -> Iterator[list[str]]:
    """The words of each `prunebench …` in indented code, continued lines joined, comments and pipes cut off."""
    code = "\n".join(line for line in text.splitlines() if line.startswith("    "))
    for line in code.replace("\\\n", " ").splitlines():
        found = re.search(r"(?:^|\s)prunebench ([a-z-]+(?!\S).*)", re.split(r"\s#\s|\s\|\s|\s&&\s", line)[0])
        if found:
            words = found[1].split()
            yield words[: words.index("--")] if "--" in words else words  # what follows is another command's


def _options(words: list[str]) -> set[str] | None:
    """The options of the command that the words name; None: there is no such command."""
    command = get_command(app).commands.get(words[0])
    if hasattr(command, "commands"):
        command = command.commands.get(words[1])
    return command and {"--help", *(name for parameter in command.params for name in parameter.opts)}
