"""A day on a GPU in one command: what NVML answers, what the counter is worth, the first joules per token, and more, in order of worth.

    deployment/gpu-day/run.sh --minutes 9 --output results
    deployment/gpu-day/run.sh --minutes 5 --output results --rehearse        on a CPU, with a stand-in for NVML

DIR gets `results.tar.gz`, rewritten after each stage, and `stages.json`, true at every moment. docs/how-to/gpu-day.md has the stages.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from benchmarks.gpu_day.archive import SCRATCH
from benchmarks.gpu_day.day import Day
from benchmarks.gpu_day.preparing import CARRIED, probe, with_stand_in, with_wheels
from benchmarks.gpu_day.stages import LETTERS, Choice, needs_of, stages_of


def main() -> None:
    """Exit with 0 if every stage is done or skipped, with 1 if not."""
    options = _options()
    output: Path = options.output.absolute()
    work: Path = (options.work or output / "work").absolute()
    began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    about = {"began": began, "minutes": options.minutes, "rehearsal": options.rehearse}
    day = Day(output, work, 60 * options.minutes, about)
    choice = Choice(work, options.rehearse, options.may_set_power, options.engine)
    day.plan(stages_of(options.stages, choice, {}))
    environment, notes = with_wheels(work / SCRATCH, options.wheels, os.environ)
    if options.rehearse:
        environment, more = with_stand_in(work / SCRATCH, environment)
        notes += more
    found = probe(needs_of(options.stages, choice), environment)
    (work / "probe.json").write_text(json.dumps({**found, "notes": notes}, indent=1) + "\n")
    day.add(notes=notes, probe=found)
    for line in notes:
        print(line, flush=True)
    complete = day.run(stages_of(options.stages, choice, found["missing"]), environment)
    print(f"{output / 'results.tar.gz'}: {(output / 'results.tar.gz').stat().st_size / 2**20:.1f} MiB")
    sys.exit(0 if complete else 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="run.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=_minutes, required=True, help="length of the day")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="where results.tar.gz goes")
    parser.add_argument("--work", type=Path, metavar="DIR", help="results as they are written; default DIR/work")
    parser.add_argument("--stages", type=_letters, default=list(LETTERS), help="such as a,b; default all")
    parser.add_argument("--rehearse", action="store_true", help="tiny models on the CPU, with a stand-in for NVML")
    parser.add_argument("--may-set-power", action="store_true", help="also cap the GPU's power, and restore it")
    parser.add_argument(
        "--engine",
        choices=["transformers", "synthetic"],
        default="transformers",
        help="of stage c; synthetic: no model",
    )
    parser.add_argument(
        "--wheels", type=Path, metavar="DIR", help=f"a folder with {CARRIED}; default that of this tree"
    )
    return parser.parse_args()


def _minutes(text: str) -> float:
    minutes = float(text)
    if not minutes > 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return minutes


def _letters(text: str) -> list[str]:
    letters = [one.strip() for one in text.split(",") if one.strip()]
    if not letters or not set(letters) <= set(LETTERS):
        raise argparse.ArgumentTypeError(f"{text}: expected letters from {LETTERS[0]} to {LETTERS[-1]}, such as a,b")
    return sorted(set(letters))


if __name__ == "__main__":
    main()
