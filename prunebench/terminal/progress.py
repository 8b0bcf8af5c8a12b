"""Progress of long work: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    Task,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.table import Column
from rich.text import Text

from prunebench.terminal.console import print_line
from reports.document.console import Console
from reports.document.wording import duration

Progress = Callable[[int, int, str], None]  # how many of how many of what are done; 0 of 0: no end is known

_PLAIN_EVERY_S = 5.0
_BAR = 8  # columns, at least
_FIGURES = 26  # columns: share, times, and the gaps between


def unseen(_done: int, _total: int, _what: str) -> None:
    """Progress that nobody watches."""


class _Elapsed(TimeElapsedColumn):
    """Nothing beside an aim, which comes nearer by leaps."""

    def render(self, task: Task) -> Text:
        return Text() if task.fields.get("is_aim") else super().render(task)


class _Remaining(TimeRemainingColumn):
    """Nothing beside an aim: its pace so far says little of the time left."""

    def render(self, task: Task) -> Text:
        return Text() if task.fields.get("is_aim") else super().render(task)


class _Pace:
    """The mean rate of a count, since it was last begun anew."""

    def __init__(self) -> None:
        self._began, self._first, self._last, self._total = 0.0, 0, -1, -1

    def left(self, done: int, total: int) -> str:
        """The time that is left, in words; empty where there is no telling."""
        now = time.monotonic()
        if total != self._total or done < self._last:
            self._began, self._first = now, done
        self._last, self._total = done, total
        if not self._first < done < total:
            return ""
        return f", about {duration((now - self._began) / (done - self._first) * (total - done))} left"


class Steps:
    """A counted task, as a context manager."""

    def __init__(self, console: Console, title: str, total: int = 1) -> None:
        self._console = console
        self._title = title
        self._total = total
        self._done = 0
        self._plain_at = time.monotonic()
        self._bytes_from: tuple[float, int] | None = None
        words = max(_BAR, console.width - _BAR - _FIGURES)
        self._bar = Bars(
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, max_width=words)),
            BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=_BAR)),  # what the words leave
            TaskProgressColumn("{task.percentage:3.0f} %", "", markup=False, table_column=Column(no_wrap=True)),
            _Elapsed(),
            _Remaining(),
            console=console,
            transient=True,
            expand=True,
            disable=not console.draws,
        )
        self._task = self._bar.add_task(title, total=total)
        self._part: TaskID | None = None
        self._aim: TaskID | None = None
        self._part_at = (0, 0)
        self._pace, self._part_pace = _Pace(), _Pace()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self, by: int, what: str) -> None:
        """Count `by` more steps as done; `what` says which."""
        self.reach(self._done + by, self._total, what)

    def retotal(self, left: int) -> None:
        """Expect `left` more steps."""
        self._total = self._done + left
        self._bar.update(self._task, total=self._total)

    def aim(self, share: float, what: str) -> None:
        """Show in a line that stays how near something is to its goal, as a share, with no times but those of `what`."""
        if self._aim is None:
            self._aim = self._bar.add_task(what, total=1.0, is_aim=True)
        self._bar.update(self._aim, completed=share, description=what)

    def bytes_done(self, done: int, total: int) -> None:
        """Progress in bytes, as the pruner reports it, with the mean rate since other work was last shown."""
        now = time.monotonic()
        if self._bytes_from is None:
            self._bytes_from = now, done
        started, before = self._bytes_from
        rate = f", {decimal(round((done - before) / (now - started)))}/s" if now > started else ""
        self._show(done, total, f"{decimal(done)} of {decimal(total)}{rate}")

    def reach(self, done: int, total: int, what: str) -> None:
        """Show `done` of `total`."""
        self._bytes_from = None
        self._show(done, total, what)

    def _show(self, done: int, total: int, what: str) -> None:
        self._end_part()
        self._done, self._total = done, total
        self._bar.update(self._task, completed=done, total=total, description=f"{self._title}: {what}")
        left = self._pace.left(done, total)
        self._log(f"{self._title}: {100 * done // max(1, total)} %, {what}{left}", always=done == total)

    def part(self, done: int, total: int, what: str) -> None:
        """Show in a line below, until `done` is `total`, how far the step under way is; 0 of 0: only how long it takes."""
        if total and done >= total:
            self._end_part()
            return
        if self._part is None or total != self._part_at[1] or done < self._part_at[0]:
            self._end_part()
            self._part = self._bar.add_task(what, total=total or None)
        self._part_at = done, total
        self._bar.update(self._part, completed=done, description=what)
        self._log(
            f"{self._title}: {what}" + (f", {done} of {total}{self._part_pace.left(done, total)}" if total else "")
        )

    def _end_part(self) -> None:
        if self._part is not None:
            self._bar.remove_task(self._part)
            self._part = None

    def _log(self, line: str, *, always: bool = False) -> None:
        """Print it where there is no bar, if it is time for a line."""
        if not self._console.draws and (always or time.monotonic() - self._plain_at >= _PLAIN_EVERY_S):
            self._plain_at = time.monotonic()
            self.print(line)

    def print(self, line: str) -> None:
        """Print a line that stays above the bar."""
        print_line(line, self._console)
