"""The table of criteria in docs/explanation/pruning.md, from their registry."""

from __future__ import annotations

from pathlib import Path

from pruner.scoring.criteria import criteria

PAGE = "docs/explanation/pruning.md"
HEAD = "| `--criterion` | score | needs | source |\n|---|---|---|---|\n"


def render() -> str:
    """The page with the table as it is now; the prose around it stays."""
    before, _, rest = (Path(__file__).parents[2] / PAGE).read_text("utf-8").partition(HEAD)
    rows = [
        f"| `{one.name}` | {one.words.replace('|', chr(92) + '|')} | {one.cost} | {one.origin} |" for one in criteria()
    ]
    return before + HEAD + "\n".join(rows) + "\n\n" + rest.partition("\n\n")[2]
