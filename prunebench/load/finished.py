"""The loads that `prunebench load` has measured: what it prints of them, and its exit status."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from loadgen.metrics.summary import summarize
from loadgen.records.schema import Flag
from loadgen.results.result import TrialResult
from prunebench.load.fail_on import failed_checks
from prunebench.load.summary_text import summary_lines
from prunebench.terminal.console import err, out, print_line
from reports.checks.findings import find_in_trial
from reports.document.wording import SIMULATED


@dataclass(frozen=True)
class Finished:
    """One load that is on disk."""

    result: TrialResult
    flags: list[Flag]
    folder: Path

    @cached_property
    def summary(self) -> dict[str, Any]:
        """As in `summary.json`."""
        return summarize(self.result.trial, self.result.metrics, self.flags, self.result.power)

    def lines(self) -> list[str]:
        """The same for people."""
        trial, metrics = self.result.trial, self.result.metrics
        simulated = f" ({SIMULATED})" if trial.simulated else ""
        title = f"{trial.workload.name}{simulated}: {trial.workload.describe()}"
        return summary_lines(self.summary, metrics, find_in_trial(trial, metrics), self.folder, title)


def print_finished(loads: Sequence[Finished], *, as_json: bool) -> None:
    """The summary of each; as JSON an object, of several loads a list of them."""
    if as_json:
        summaries = [load.summary for load in loads]
        if loads:
            out.print_json(json.dumps(summaries[0] if len(loads) == 1 else summaries))
        return
    for number, load in enumerate(loads):
        if number:
            print_line("")
        for line in load.lines():
            print_line(line)


def exit_status(loads: Sequence[Finished], failing: Collection[str]) -> int:
    """130 after a Ctrl-C, 1 if one of the `failing` checks failed, which stderr then names."""
    if any(load.result.trial.interrupted for load in loads):
        return 130
    failed = list(dict.fromkeys(check for load in loads for check in failed_checks(load.flags, failing)))
    if failed:
        print_line(f"exit status 1, by --fail-on: {', '.join(failed)}", err)
    return 1 if failed else 0
