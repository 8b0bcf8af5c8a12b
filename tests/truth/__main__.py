"""`python -P -m tests.truth [NAME …]`: run the long simulations, write their result and the table that docs/reference/estimators.md shows.

With names, only those are run; the other results stay. `--short` prints the short version and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.truth.registry import Seen, outcomes_of, seen, simulations

ROOT = Path(__file__).parents[2]
RESULT = "benchmarks/results/truth.json"
PAGE = "docs/reference/estimators.md"
BEGIN, END = "<!-- truth: written by python -P -m tests.truth -->", "<!-- /truth -->"


def main() -> int:
    """Exit with status 1 if a result contradicts its bounds."""
    parser = argparse.ArgumentParser(prog="python -P -m tests.truth", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="simulations to run; all without one")
    parser.add_argument("--short", action="store_true", help="the test suite's version; nothing is written")
    arguments = parser.parse_args()
    known = simulations()
    if unknown := set(arguments.names) - set(known):
        parser.error(f"no simulation is called {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    recorded = _recorded(set(known))
    contradicted = 0
    for name in arguments.names or known:
        results = _run(name, short=arguments.short)
        rows = known[name].rows
        for key, result in results.items():
            why = result.contradicts(rows[key])
            contradicted += why is not None
            print(f"{name}, {key}: {_value(result)} of {result.n}{f'; {why}' if why else ''}", flush=True)  # noqa: T201
        recorded["simulations"][name] = {key: asdict(result) for key, result in results.items()}
        if not arguments.short:
            _write(recorded)
    return 1 if contradicted else 0


def _run(name: str, *, short: bool) -> dict[str, Seen]:
    """Run one simulation on all cores."""
    simulation = simulations()[name]
    number, cores = simulation.short if short else simulation.long, os.cpu_count() or 1
    step = -(-number // (8 * cores))
    firsts = range(0, number, step)
    numbers = [min(step, number - first) for first in firsts]
    with ProcessPoolExecutor(cores) as pool:
        parts = pool.map(outcomes_of, [name] * len(firsts), numbers, firsts)
        return seen(simulation.rows, [outcome for part in parts for outcome in part])


def _recorded(known: set[str]) -> dict[str, Any]:
    """The committed result, without removed simulations."""
    path = ROOT / RESULT
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {"simulations": {name: rows for name, rows in found.get("simulations", {}).items() if name in known}}


def _write(recorded: dict[str, Any]) -> None:
    recorded["simulations"] = dict(sorted(recorded["simulations"].items()))
    (ROOT / RESULT).write_text(json.dumps(recorded, indent=1) + "\n", encoding="utf-8")
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    (ROOT / PAGE).write_text(before + table(recorded) + after, encoding="utf-8")


def table(recorded: dict[str, Any]) -> str:
    """The table in Markdown, between the page's marks."""
    lines = ["| estimator | conditions | nominal | seen (n simulations) | command |", "| --- | --- | --- | --- | --- |"]
    known = simulations()
    for name, results in recorded["simulations"].items():
        for key, row in known[name].rows.items():
            result = Seen(**results[key])
            cells = [row.estimator, row.conditions, row.nominal, f"{_value(result)} ({result.n:,})"]
            lines.append(f"| {' | '.join(cells)} | `python -P -m tests.truth {name}` |")
    return "\n".join([BEGIN, *lines, END])


def _value(result: Seen) -> str:
    if result.value is None:
        return "—"
    return f"{100 * result.value:.1f} %" if result.is_share else f"{result.value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
