"""Which test files concern what changed since main, committed or not, by three rules:

1. a test file that changed itself, or that imports a changed module, directly or through a helper or conftest of the tests;
2. the test files in the folder that mirrors a changed module's (`loadgen/client/wire.py`: `tests/loadgen/client/`), since tests of
   the command line start it and import nothing;
3. for a file of another kind, the test files that name it or read all of its folder (`docs/**`).

    python -m tests.project.changed [BASE]     # prints them, a line each; BASE is main

A test further away, which only reaches a changed module through other modules, is left to `make check-all`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[2]
PACKAGES = ("prunebench", "reports", "pruner", "server", "loadgen", "energy", "base", "tests")


def changed_files(root: Path, base: str) -> set[Path]:
    """What differs from where the branch left its base, deleted files too, and what git does not track yet. Relative to the root."""
    fork = _git(root, "merge-base", "HEAD", base)[0]
    listed = _git(root, "diff", "--name-only", "--no-renames", fork) + _git(
        root, "ls-files", "--others", "--exclude-standard"
    )
    return {Path(line) for line in listed}


def selected(root: Path, changed: set[Path], graph: grimp.ImportGraph) -> set[Path]:
    """The test files for these changes, relative to the root."""
    every = {path.relative_to(root) for path in root.glob("tests/**/test_*.py")}
    texts = {path: (root / path).read_text("utf-8") for path in every}
    found = changed & every
    for path in changed - every:
        if path.suffix == ".py" and path.parts[0] in PACKAGES:
            found |= {test for module in _importers(graph, path) for test in every if _module(test) == module}
            found |= _mirrored(path, every)
        else:
            found |= {test for test, text in texts.items() if path.name in text or f"{path.parts[0]}/**" in text}
    return found


def _importers(graph: grimp.ImportGraph, path: Path) -> set[str]:
    """Modules of the tests that import a module, directly or through other modules of the tests."""
    reached: set[str] = set()
    waiting = {_module(path)} & graph.modules
    while waiting:
        name = waiting.pop()
        new = {one for one in graph.find_modules_that_directly_import(name) if one.startswith("tests.")} - reached
        if name.endswith(".conftest"):
            folder = name.removesuffix("conftest")
            new |= {one for one in graph.modules if one.startswith(folder) and ".test_" in one} - reached
        reached |= new
        waiting |= new
    return reached


def _mirrored(path: Path, every: set[Path]) -> set[Path]:
    folder = path.parent if path.parts[0] == "tests" else Path("tests") / path.parent
    return {test for test in every if test.parent == folder}


def _module(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _git(root: Path, *words: str) -> list[str]:
    return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True).stdout.splitlines()


def main() -> None:
    """Print them."""
    base = sys.argv[1] if len(sys.argv) > 1 else "main"
    graph = grimp.build_graph(*PACKAGES, cache_dir=f"{ROOT / '.import_linter_cache'}")
    for path in sorted(selected(ROOT, changed_files(ROOT, base), graph)):
        print(path)  # noqa: T201 - that is its result


if __name__ == "__main__":
    main()
