"""When bytes reached this machine: the kernel's receive stamps, moved onto the monotonic clock.

Linux stamps every packet in software where a socket asks for it (`SO_TIMESTAMPING`, Documentation/networking/timestamping.rst)
and hands the stamp of the last byte of a read out with `recvmsg`. Stamps are wall time. Wall and monotonic time are slewed
alike, so their difference is constant but for steps of the wall clock (`settimeofday`, a leap second), which are looked for.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable

from base.clock import wall_clock_offset

ANCILLARY_BYTES = 64  # room for one struct scm_timestamping: three timespecs behind a header
_SO_TIMESTAMPING = 37
_SOFTWARE_RECEIVE = (1 << 3) | (1 << 4)  # SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE
_STEP_NS = 50_000  # readings of both clocks agree to a microsecond; more than this is a step
ODD_NS = 5_000_000  # a read this long after its stamp means a late client or a clock step: check the clock
_LOOK_NS = 1_000_000  # between two checks, or checking makes a late client later

unpack_stamp = struct.Struct("qq").unpack_from


def ask_for_stamps(connection: socket.socket) -> bool:
    """Have the kernel stamp what this socket receives. False where it does not: other systems, other kinds of sockets."""
    if connection.family not in {socket.AF_INET, socket.AF_INET6}:
        return False
    try:
        connection.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, _SOFTWARE_RECEIVE)
    except OSError:
        return False
    return True


class ArrivalClock:
    """Wall time of the kernel's stamps as monotonic time."""

    def __init__(
        self, wall_ns: Callable[[], int] = time.time_ns, monotonic_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._wall_ns, self._monotonic_ns = wall_ns, monotonic_ns
        self.steps = 0  # how often the wall clock was set meanwhile
        self._looked_ns = 0
        self.offset_ns, _ = self._measure()  # of wall time to monotonic time

    def arrival(self, stamp: tuple[int, int], read_ns: int) -> int:
        """The monotonic moment of a (seconds, nanoseconds) stamp, of bytes read at `read_ns`; never after that."""
        wall = stamp[0] * 1_000_000_000 + stamp[1]
        if not 0 <= read_ns - wall + self.offset_ns < ODD_NS and read_ns >= self._looked_ns + _LOOK_NS:
            self._looked_ns = read_ns
            self.check()
        return min(wall - self.offset_ns, read_ns)

    def check(self) -> None:
        """Detect a step of the wall clock; call it now and then, for steps too small to show in a read."""
        offset, error = self._measure()
        if error < _STEP_NS and abs(offset - self.offset_ns) > _STEP_NS:
            self.offset_ns = offset
            self.steps += 1

    def _measure(self) -> tuple[int, int]:
        return wall_clock_offset(self._wall_ns, self._monotonic_ns)
