"""Stages one after another, each for its share of the time that is left; one that fails or runs over never costs the next.

`stages.json` is written before and after each stage, so that it is true at every moment; `results.tar.gz` after each, and every
half minute meanwhile. Only the standard library.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from benchmarks.gpu_day.archive import SCRATCH, STAGES, LeftOut, files_below, write_archive
from benchmarks.gpu_day.processes import adopt_orphans, run_for

SECONDS = "{seconds}"  # a word of a command that becomes the stage's budget
RESULTS = "results.tar.gz"
_SAVE_EVERY_S = 30.0
_LEAST_S = 2.0  # a stage with less than that is not begun
_PATIENCE_S, _PATIENCE_SHARE = 20.0, 0.15  # that much of its budget, and no more, a stage has for ending by itself
_SAVING_S = 3.0  # kept for the last archive


@dataclass(frozen=True)
class Stage:
    """What is run for `share` of the time that is left when it begins; with `missing` it is skipped, for that reason."""

    letter: str
    title: str
    share: float
    command: tuple[str, ...]
    missing: str | None = None


@dataclass
class Record:
    """One stage in `stages.json`. `planned` and `running` are what a day that was killed leaves."""

    letter: str
    title: str
    status: Literal["planned", "running", "done", "cut", "failed", "skipped"] = "planned"
    reason: str | None = None
    budget_s: float | None = None
    seconds: float | None = None
    files: list[str] = field(default_factory=list)


class Day:
    """Runs stages; results go to `work`, the archive and the stages' records to `output`."""

    def __init__(self, output: Path, work: Path, seconds: float, about: Mapping[str, Any]) -> None:
        self._output, self._work, self._about = output, work, dict(about)
        self._deadline = time.monotonic() + seconds - _SAVING_S
        self._records: dict[str, Record] = {}
        self._ending: str | None = None
        self._left_out: list[LeftOut] = []
        self._saved = time.monotonic()
        for folder in (output, work / "logs", work / SCRATCH):
            folder.mkdir(parents=True, exist_ok=True)
        if (output / STAGES).exists():  # an earlier command of this day
            earlier = json.loads((output / STAGES).read_text())["stages"]
            self._records = {one["letter"]: Record(**one) for one in earlier}
            for record in self._records.values():
                if record.status == "running":
                    record.status, record.reason = "cut", "the day was killed"
        adopt_orphans()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._end)

    @property
    def left_s(self) -> float:
        """Seconds until the day is over."""
        return max(0.0, self._deadline - time.monotonic())

    def add(self, **facts: Any) -> None:
        """State more of the day in `stages.json`."""
        self._about |= facts
        self._write_stages()

    def plan(self, stages: Sequence[Stage]) -> None:
        """Name the stages of this command, so that they are in `stages.json` from the beginning."""
        self._records |= {stage.letter: Record(stage.letter, stage.title) for stage in stages}
        self._records = dict(sorted(self._records.items()))
        self._write_stages()

    def run(self, stages: Sequence[Stage], environment: Mapping[str, str]) -> bool:
        """Run them in turn; whether all are done or skipped."""
        for stage in stages:
            self._run(stage, self._records[stage.letter], environment)
            self.save()
        return self._ending is None and all(self._records[one.letter].status in {"done", "skipped"} for one in stages)

    def save(self) -> None:
        """Write the archive and the records."""
        self._saved = time.monotonic()
        try:
            self._left_out = write_archive(self._output / RESULTS, self._work, self._text)
        except OSError as error:  # a full disk must not end the day: the next stage may need none of it
            print(f"{self._output / RESULTS}: {error.strerror}", flush=True)
        self._write_stages()

    def _run(self, stage: Stage, record: Record, environment: Mapping[str, str]) -> None:
        budget = stage.share * self.left_s
        if stage.missing is not None or self._ending is not None:
            record.status, record.reason = "skipped", stage.missing or self._ending
        elif budget < _LEAST_S:
            record.status, record.reason = "skipped", f"{self.left_s:.0f} s of the day were left"
        if record.status == "skipped":
            print(f"({stage.letter}) {stage.title}: skipped, {record.reason}", flush=True)
            return
        record.status, record.budget_s = "running", round(budget, 1)
        self._write_stages()
        print(f"({stage.letter}) {stage.title}: {budget:.0f} s", flush=True)
        before = self._stamps()
        command = [f"{budget:.1f}" if word == SECONDS else word for word in stage.command]
        ended = run_for(
            command,
            self._work / "logs" / f"{stage.letter}.log",
            budget,
            environment=environment,
            patience_s=min(_PATIENCE_S, _PATIENCE_SHARE * budget),
            stop=self._meanwhile,
        )
        record.status, record.reason, record.seconds = ended.status, ended.reason, round(ended.seconds, 1)
        record.files = [name for name, stamp in self._stamps().items() if before.get(name) != stamp]
        print(f"({stage.letter}) {ended.status}{f', {ended.reason}' if ended.reason else ''}", flush=True)

    def _meanwhile(self) -> str | None:
        if self._ending is not None or time.monotonic() - self._saved > _SAVE_EVERY_S:
            self.save()
        return self._ending

    def _end(self, number: int, _frame: FrameType | None) -> None:
        self._ending = f"the day was ended by {signal.Signals(number).name}"

    def _stamps(self) -> dict[str, tuple[int, int]]:
        found = ((path, path.stat()) for path in files_below(self._work))
        return {f"{path.relative_to(self._work)}": (stat.st_mtime_ns, stat.st_size) for path, stat in found}

    def _text(self, left_out: Sequence[LeftOut]) -> str:
        stages = [asdict(record) for record in self._records.values()]
        return json.dumps({**self._about, "stages": stages, "left_out": [asdict(o) for o in left_out]}, indent=1) + "\n"

    def _write_stages(self) -> None:
        target = self._output / STAGES
        partial = target.with_name(f"{STAGES}.partial")
        try:
            with partial.open("w") as file:
                file.write(self._text(self._left_out))
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
        except OSError as error:
            print(f"{target}: {error.strerror}", flush=True)
