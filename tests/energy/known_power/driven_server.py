"""`prunebench serve --engine synthetic`, whose load drives the power of the stand-in GPU: python driven_server.py LOG serve …

Each change of the number of running requests sets the GPU's watts at that moment, and is written to LOG as "SECONDS WATTS"
of the monotonic clock: the exact power curve, from which a test knows the true joules. The engine's own meter is left out, so
that joules can only come from the GPU, through the real nvidia-ml-py.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

from prunebench.cli import main
from server.engines.synthetic.engine import SyntheticEngine
from server.engines.synthetic.meter import SyntheticMeter

IDLE_WATTS, ACTIVE_WATTS = 90.0, 35.0


def drive(log: Path) -> None:
    library = ctypes.CDLL("libnvidia-ml.so.1")
    library.stand_in_watts.restype = ctypes.c_double
    lines = log.open("w", buffering=1)

    def set_running(_: SyntheticMeter, requests: int) -> None:
        watts = IDLE_WATTS + ACTIVE_WATTS * requests
        lines.write(f"{library.stand_in_watts(0, ctypes.c_double(watts))!r} {watts!r}\n")

    SyntheticMeter.set_running = set_running  # type: ignore[method-assign]
    SyntheticEngine.meters = lambda _: []  # type: ignore[method-assign]


if __name__ == "__main__":
    drive(Path(sys.argv.pop(1)))
    main()
