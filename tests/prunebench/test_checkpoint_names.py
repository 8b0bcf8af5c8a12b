"""A checkpoint is named alike everywhere: by any path, a pattern in quotes, or as OWNER/NAME of the hub once it is here."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.prunebench.cli.test_cli import one_line
from tests.prunebench.conftest import SYNTHETIC, TINYGLU
from tests.pruner.checkpoint.hub_server import COMMIT
from tests.support.captured import captured

WAYS = {
    "absolute": "{folder}/models/tinyglu",
    "relative": "models/tinyglu",
    "home": "~/models/tinyglu",
    "pattern": "models/tiny*",
    "pattern in the home": "~/mod*/tinyglu",
    "hub": "org/tinyglu",
}
_FIND = """
import json, sys
from pathlib import Path
from prunebench.experiment.resolve import load_experiment
from pruner.checkpoint.hub import find_downloaded
for way in sys.argv[1:]:
    Path("named.toml").write_text(Path("experiment.toml").read_text().replace("CHECKPOINT", way))
    folder, name = find_downloaded(way)
    print(json.dumps([str(folder.resolve()), name, str(load_experiment(Path("named.toml")).model.source)]))
"""
NOT_HERE = {
    "serve": ["serve", "org/none"],
    "evaluate": ["evaluate", "org/none", "--tasks", "offline"],
    "evaluate --tokenizer": [
        "evaluate", "http://127.0.0.1:9", "--model", "m", "--tokenizer", "org/none", "--tasks", "fragile-knowledge"
    ],
    "load --tokenizer": ["load", "http://127.0.0.1:9", "--tokenizer", "org/none"],
    "run": ["run", "named.toml", "--dry-run"],
}  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch) -> Path:
    """A folder that is the home too, with a checkpoint in models/ and one in the hub's cache."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "tinyglu").symlink_to(TINYGLU)
    stored = tmp_path / "hub" / "hub" / "models--org--tinyglu"
    (stored / "refs").mkdir(parents=True)
    (stored / "refs" / "main").write_text(COMMIT)
    (stored / "snapshots").mkdir()
    (stored / "snapshots" / COMMIT).symlink_to(TINYGLU)
    for name, value in {"HOME": tmp_path, "HF_HOME": tmp_path / "hub", "HF_ENDPOINT": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(name, f"{value}")
    return tmp_path


def test_a_checkpoint_is_found_by_any_name_on_the_command_line_and_in_an_experiment(here: Path):
    (here / "experiment.toml").write_text(SYNTHETIC.replace(str(TINYGLU), "CHECKPOINT"))
    ways = [way.format(folder=here) for way in WAYS.values()]
    done = captured([sys.executable, "-P", "-c", _FIND, *ways], cwd=here)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    expected = [[f"{TINYGLU}", "org/tinyglu" if way == "hub" else "tinyglu", f"{TINYGLU}"] for way in WAYS]
    assert found == expected, done.stderr


@pytest.mark.parametrize("way", ["~/mod*/tinyglu", "org/tinyglu"])
def test_what_is_found_is_pruned(here: Path, prunebench, way: str):
    done = prunebench("prune", way, "--output", "~/out", "--expansion-ratio", "2")
    assert done.returncode == 0, done.stderr
    assert (here / "out" / "width-512" / "config.json").is_file()


@pytest.mark.parametrize("words", NOT_HERE.values(), ids=NOT_HERE)
def test_a_model_of_the_hub_that_is_not_here_is_one_line_that_says_how_to_get_it(here: Path, prunebench, words):
    (here / "named.toml").write_text(SYNTHETIC.replace(str(TINYGLU), "org/none"))
    line = one_line(prunebench(*words))
    assert "org/none: no such folder here" in line
    assert "`hf download org/none`" in line


def test_a_pattern_of_two_checkpoints_is_refused_where_one_is_taken(here: Path, prunebench):
    (here / "models" / "tiny2").symlink_to(TINYGLU)
    assert "models/tiny*: matches 2 paths" in one_line(prunebench("inspect", "models/tiny*"))


def test_patterns_in_quotes_are_taken_where_a_command_takes_several(prunebench, tmp_path: Path):
    for name in ("run-a", "run-b"):
        (tmp_path / name).mkdir()
    assert "run-a" in one_line(prunebench("report", "run-*"))


def test_run_and_init_compare_everything_that_a_pattern_matches(here: Path, prunebench):
    shutil.copytree(TINYGLU, here / "models" / "tiny2")
    written = prunebench("init", "~/models/tiny*")
    assert "experiment.toml: tiny2-vs-tinyglu\n" in written.stdout, written.stderr
    planned = prunebench("run", "~/models/tiny*", "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "tiny2" in planned.stdout
    assert "models/none*" in one_line(prunebench("run", "models/none*", "models/tiny2"))
