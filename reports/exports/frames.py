"""A run as data frames, for notebooks: `prunebench.load_run(path)`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from reports.analysis.analyse import analyse_folder
from reports.analysis.energy.token_costs import read_requests
from reports.analysis.records import Analysis
from reports.errors import ReportError
from reports.exports.cells import cell_rows
from reports.exports.trials import request_rows

Library = Literal["pandas", "polars"]


@dataclass(frozen=True)
class Run:
    """A run folder, read and analysed: three tables, and everything else of the report in `analysis`.

    Every table is a `pandas.DataFrame`, or with `library="polars"` a `polars.DataFrame`. A missing value is null; the tables
    of cells say why in the column beside it. Raises ReportError if that library is not installed.
    """

    path: Path
    analysis: Analysis

    def cells(self, library: Library = "pandas") -> Any:
        """A row for every configuration and workload: medians, ratios to the baseline with 95 % intervals, verdicts, quality.

        The columns are those of cells.csv.
        """
        return _frame(cell_rows([self.analysis]), library)

    def trials(self, library: Library = "pandas") -> Any:
        """A row for every trial, in the order of measurement: its block, label, workload, and a column for each quantity.

        `unfit` says why no verdict uses a trial. Units are in the names: `ttft_ms`, `joules_per_output_token`.
        """
        trials = sorted(self.analysis.trials, key=lambda trial: trial.order)
        quantities = dict.fromkeys(key for trial in trials for key in trial.values)
        head = ("order", "block", "label", "workload", "started_at", "window_s", "unfit")
        return _frame(
            [{key: getattr(t, key) for key in head} | {key: t.values.get(key) for key in quantities} for t in trials],
            library,
        )

    def requests(self, library: Library = "pandas") -> Any:
        """A row for every request of every trial, also outside the window: its record without the arrivals, latencies in ms."""
        rows = [row for load in read_requests(self.path).trials for row in request_rows(load)]
        return _frame(rows, library)

    def checks(self, library: Library = "pandas") -> Any:
        """A row for every validity check: its name, its outcome, and its worst observation in one line."""
        rows = [{"check": c.check, "outcome": c.outcome, "reason": c.summary} for c in self.analysis.checks]
        return _frame(rows, library)


def load_run(path: str | Path) -> Run:
    """Read and analyse a run folder, finished or not. Raises ReportError for another folder, naming what is missing."""
    folder = Path(path).expanduser()
    return Run(folder, analyse_folder(folder))


def _frame(rows: Sequence[Mapping[str, Any]], library: Library) -> Any:
    if library not in {"pandas", "polars"}:
        raise ReportError(f"library {library!r}: must be pandas or polars")
    if find_spec(library) is None:
        raise ReportError(f"{library} is not installed; pip install {library}")
    if library == "polars":
        import polars as pl

        return pl.DataFrame(list(rows), infer_schema_length=None)
    import pandas as pd

    return pd.DataFrame(list(rows))
