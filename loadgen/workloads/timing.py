"""When a workload's requests leave, and which part of the load is measured: the questions that a kind answers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, Literal

from loadgen.workloads.kinds import KindRecord

# whole: from the first sending to the last end; generations: of a full closed loop; steady: of a filled open loop.
WindowCut = Literal["whole", "generations", "steady"]


class Timing(KindRecord):
    """A load whose requests are sent one by one, and whose window is all of it; kinds differ in what they override."""

    # When requests leave.

    @property
    def open_loop(self) -> bool:
        """Whether requests leave by a schedule that no answer delays."""
        return False

    def arrivals(self, seed: int) -> Iterator[float]:  # noqa: ARG002 - open loops depend on it
        """Seconds after the start at which an open loop's requests leave, rising. Raises ValueError for closed loops."""
        raise ValueError(f"a {self.kind} workload has no schedule")

    @property
    def in_flight(self) -> int | None:
        """How many requests a closed loop keeps in flight, at most; None for open loops."""
        return None

    def users(self) -> list[tuple[float, float]]:
        """The seconds after the start from which, and until which, each user of a closed loop sends requests."""
        return [(0.0, math.inf)] * (self.in_flight or 1)

    @property
    def group_size(self) -> int | None:
        """Requests that are sent together, the next group when all have ended; None: not in groups."""
        return None

    @property
    def sends_lists(self) -> bool:
        """Whether a group is one HTTP request whose prompt is a list."""
        return False

    sequential: ClassVar[bool] = False
    """Whether each request, or group, waits for the one before: one process sends it, and nothing overlaps."""

    holds_sessions: ClassVar[bool] = False
    """Whether its requests are turns of conversations, each sent when the one before it was answered."""

    # How it is measured.

    window_cut: ClassVar[WindowCut] = "whole"
    """Which part of the load is steady, and becomes the window (`loadgen.metrics.window`)."""

    @property
    def streams(self) -> int | None:
        """Requests in flight all the time, each end starting the next; None: no such loop."""
        return None

    @property
    def constant_in_flight(self) -> int | None:
        """Requests in flight throughout; None where that varies or is not the workload's to say."""
        return None

    @property
    def constant_rate(self) -> float | None:
        """Requests per second throughout; None where that varies or is not the workload's to say."""
        return None

    @property
    def level(self) -> float:
        """Orders the loads of a family: requests in flight, or requests per second; of a ramp the first; 0: unknown."""
        return float(self.constant_in_flight or self.constant_rate or 0)

    @property
    def swept_by(self) -> str | None:
        """The name of the sweep whose point it is, if any."""
        return None
