"""Stage g: the report of each run that has none yet, the page of all runs, and `summary.md`, the day on one page."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.gpu_day.measuring.summary import summary
from benchmarks.gpu_day.profiles import stage_parser


def main() -> None:
    """Exit with 1 if a report could not be written; the others are."""
    options = stage_parser(__doc__).parse_args()
    work: Path = options.work
    (work / "summary.md").write_text(summary(work))
    runs = [file.parent for file in sorted(work.glob("runs/*/run.json"))]
    reported = [_prunebench("report", f"{run}") for run in runs if not (run / "cells.json").exists()]
    reported += [_prunebench("report", f"{work / 'runs'}", "--index")] if runs else []
    (work / "summary.md").write_text(summary(work))  # a run that was cut has its figures only now
    raise SystemExit(0 if all(reported) else 1)


def _prunebench(*words: str) -> bool:
    return subprocess.run([sys.executable, "-P", "-m", "prunebench", *words], check=False).returncode == 0


if __name__ == "__main__":
    main()
