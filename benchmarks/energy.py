"""What metering costs: the share of one core that the sampler thread takes, beside the barest loop that reads the same.

    python -P benchmarks/energy.py --seconds 20 --repeats 3 --output energy.json

GPUs are those of the stand-in for libnvidia-ml.so.1 that the tests build (gcc), read through the real nvidia-ml-py: it answers
in no time, so that what is seen is our own cost. A driver's calls cost processor time as well, which is no fault of a sampler:
`busy_us` has every call keep the core busy for that long. "bare" is a thread that asks each GPU for its counter and its power
every 50 ms and keeps nothing: the least that any sampler of both costs in this language. Each case is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "tests" / "energy" / "known_power" / "fake_nvml.c"
INTERVAL_S = 0.05
CASES = [(gpus, busy_us) for gpus in (1, 8) for busy_us in (0, 50)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--case", choices=["ours", "bare"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(measure(bare if options.case == "bare" else ours, options.seconds))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "libnvidia-ml.so.1"
        subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-pthread", SOURCE, "-o", library, "-lm"], check=True)
        for gpus, busy_us in CASES:
            settings = Path(folder) / "gpus.txt"
            settings.write_text(describe(gpus, busy_us))
            shares: dict[str, list[float]] = {"ours": [], "bare": []}
            for _ in range(options.repeats):
                for case, found in shares.items():
                    found.append(run(case, options.seconds, library.parent, settings))
            median = {case: statistics.median(found) for case, found in shares.items()}
            rows.append({"gpus": gpus, "busy_us": busy_us, "shares_of_a_core": shares, **median})
            print(
                f"{gpus} GPU, {busy_us:3d} us a call: ours {median['ours']:.2%} of a core, bare {median['bare']:.2%},"
                f" ratio {median['ours'] / median['bare']:.2f}"
            )
    if options.output:
        options.output.write_text(
            json.dumps({"seconds": options.seconds, "interval_s": INTERVAL_S, "rows": rows}, indent=1)
        )


def describe(gpus: int, busy_us: int) -> str:
    lines = ["-1 init 0", f"-1 gpus {gpus}", f"-1 busy_us {busy_us}"]
    for index in range(gpus):
        lines += [f"{index} uuid GPU-{index}", f"{index} name Stand-in", f"{index} watts 300", f"{index} refresh 0.1"]
    return "\n".join(lines) + "\n"


def run(case: str, seconds: float, library: Path, settings: Path) -> float:
    environment = {**os.environ, "LD_LIBRARY_PATH": str(library), "FAKE_NVML": str(settings)}
    words = [sys.executable, "-P", __file__, "--case", case, "--seconds", str(seconds)]
    return float(subprocess.run(words, env=environment, check=True, capture_output=True, text=True).stdout)


def measure(start: Callable[[], Callable[[], None]], seconds: float) -> float:
    """CPU seconds of this process a second, while nothing but the sampler runs in it."""
    stop = start()
    time.sleep(1)
    cpu, wall = time.process_time(), time.monotonic()
    time.sleep(seconds)
    share = (time.process_time() - cpu) / (time.monotonic() - wall)
    stop()
    return share


def ours() -> Callable[[], None]:
    from energy.sampler import start_sampler

    sampler = start_sampler(modelled_watts_per_core=None, process_ids=list, interval_s=INTERVAL_S)
    assert any(row.info.source == "nvml-counter" for row in sampler.counters().meters)
    return sampler.stop


def bare() -> Callable[[], None]:
    import pynvml

    pynvml.nvmlInit()
    handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
    stopped = threading.Event()

    def loop() -> None:
        while not stopped.wait(INTERVAL_S):
            for handle in handles:
                pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
                pynvml.nvmlDeviceGetFieldValues(handle, [(186, 0)])

    thread = threading.Thread(target=loop)
    thread.start()

    def stop() -> None:
        stopped.set()
        thread.join()

    return stop


if __name__ == "__main__":
    main()
