"""A name that begins with an underscore belongs to its module: nobody else imports it, tests included."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("base", "prunebench", "reports", "pruner", "server", "loadgen", "energy", "tests")


def private_imports(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in ROOMS:
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            yield from (name for name in names if name.startswith("_") and not name.endswith("__"))


def test_no_module_imports_the_private_names_of_another():
    files = [file for room in ROOMS for file in (ROOT / room).rglob("*.py")]
    assert len(files) > 400
    found = {str(file.relative_to(ROOT)): list(private_imports(file.read_text("utf-8"))) for file in files}
    assert {file: names for file, names in found.items() if names} == {}


def test_a_private_import_would_be_found():
    assert list(private_imports("from server.text import _hidden, shown\nfrom typer import _click")) == ["_hidden"]
