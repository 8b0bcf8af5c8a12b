"""What is committed of a run folder: its page and summaries, without this machine's paths."""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

_MOST_BYTES = 1_000_000  # of a page
_PICTURE = re.compile(r"!\[([^]]*)\]\(<?report-plots/[^)]*\)")  # which are in the page alone
PUBLISHED = (
    "report.html", "report.md", "index.json", "cells.csv", "environment.json", "experiment.toml", "run.json", "card.png",
)  # fmt: skip


def publish(folder: Path, name: str, results: Path, command: Sequence[str], options: str = "") -> None:
    """Copy PUBLISHED from `folder/runs/name`, and note the command that made it and the day in `commands.txt`.

    In report.md the words of a picture stand in its place. Ends the program if the page is too large to be committed.
    """
    results.mkdir(parents=True, exist_ok=True)
    ours = {f"{folder}/": "", sys.executable: "python", f"{Path(__file__).parents[2]}/": ""}
    for file in (folder / "runs" / name / one for one in PUBLISHED):
        if file.suffix == ".png":
            shutil.copy(file, results)
            continue
        text = file.read_text()
        for path, shown in ours.items():
            text = text.replace(path, shown)
        if file.suffix == ".html" and len(text.encode()) > _MOST_BYTES:
            sys.exit(f"{file}: {len(text.encode()):,} bytes; a published page has at most {_MOST_BYTES:,}")
        (results / file.name).write_text(_PICTURE.sub(r"*\1*", text) if file.suffix == ".md" else text)
    day = time.strftime("%Y-%m-%d", time.gmtime())
    with (results / "commands.txt").open("a") as commands:
        commands.write(
            f"{day}: python -P -m benchmarks.small_model --data FOLDER --runs {name}{options}: "
            f"prunebench {' '.join(command)}\n"
        )
