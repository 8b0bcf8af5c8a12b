"""Which tests `make check` takes for a change."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import grimp
import pytest

from tests.project.changed import changed_files, selected

IMPORTS = {
    "loadgen.client.wire": (),
    "loadgen.trial": ("loadgen.client.wire",),
    "server.app": (),
    "tests.loadgen.scripted": ("loadgen.client.wire",),
    "tests.loadgen.client.test_wire": ("loadgen.client.wire",),
    "tests.loadgen.client.test_tls": (),
    "tests.loadgen.test_trial": ("loadgen.trial",),
    "tests.energy.test_metering": ("tests.loadgen.scripted",),
    "tests.server.conftest": ("server.app",),
    "tests.server.api.test_chat": (),
    "tests.test_docs": (),
    "tests.test_guides": (),
}
READ = {"tests.test_docs": 'PAGE = "docs/structure.md"\n', "tests.test_guides": 'PAGES = "guides/**/*.md"\n'}


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    root = tmp_path_factory.mktemp("repository")
    for module in IMPORTS:
        path = root / Path(*module.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(READ.get(module, ""))
    return root


@pytest.fixture(scope="module")
def graph():
    made = grimp.ImportGraph()
    for module, imported in IMPORTS.items():
        made.add_module(module)
        for one in imported:
            made.add_import(importer=module, imported=one)
    return made


@pytest.mark.parametrize(
    ("changed", "taken"),
    [
        ("loadgen/client/wire.py", {"loadgen/client/test_wire", "loadgen/client/test_tls", "energy/test_metering"}),
        ("loadgen/trial.py", {"loadgen/test_trial"}),
        ("loadgen/client/deleted.py", {"loadgen/client/test_wire", "loadgen/client/test_tls"}),
        ("server/app.py", {"server/api/test_chat"}),
        ("tests/loadgen/scripted.py", {"loadgen/test_trial", "energy/test_metering"}),
        ("tests/server/conftest.py", {"server/api/test_chat"}),
        ("tests/loadgen/test_trial.py", {"loadgen/test_trial"}),
        ("tests/loadgen/test_deleted.py", {"loadgen/test_trial"}),
        ("docs/structure.md", {"test_docs"}),
        ("docs/other.md", set()),
        ("guides/other.md", {"test_guides"}),
    ],
)
def test_a_change_takes_the_tests_that_import_mirror_or_name_it(repository, graph, changed, taken):
    assert selected(repository, {Path(changed)}, graph) == {Path(f"tests/{one}.py") for one in taken}


def test_what_was_committed_staged_edited_deleted_or_added_since_the_base_has_changed(tmp_path):
    def git(*words: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True)

    git("init", "--initial-branch", "main")
    for name in ("kept", "committed", "staged", "edited", "deleted"):
        (tmp_path / name).write_text("before")
    git("add", ".")
    git("commit", "-m", "base")
    git("switch", "--create", "branch")
    (tmp_path / "committed").write_text("after")
    git("commit", "-am", "change")
    (tmp_path / "staged").write_text("after")
    git("add", "staged")
    (tmp_path / "edited").write_text("after")
    (tmp_path / "deleted").unlink()
    (tmp_path / "added").write_text("new")
    assert changed_files(tmp_path, "main") == {
        Path(one) for one in ("committed", "staged", "edited", "deleted", "added")
    }


def test_the_command_that_make_check_runs_lists_tests_of_this_repository():
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.project.changed", "HEAD"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert listed.returncode == 0, listed.stderr
    assert all((root / path).is_file() for path in listed.stdout.splitlines())
