"""What metering costs: the share of one core that the sampler thread takes, beside the barest loop that reads the same.

    python -P benchmarks/energy.py --seconds 20 --repeats 3 --output energy.json

GPUs are those of the stand-in for libnvidia-ml.so.1 that the tests build (gcc), read through the real nvidia-ml-py: it answers
in no time, so that what is seen is our own cost. A driver's calls cost processor time as well, which is no fault of a sampler:
`busy_us` has every call keep the core busy for that long. "bare" is a thread that makes the same calls and keeps nothing: counter
and power of each GPU every 20 or 50 ms, clocks, temperature, throttling, limit and processes every second. That is the least that
any sampler of these costs in this language. Each case is a process of its own.
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
CASES = [(interval_ms, gpus, busy_us) for interval_ms in (20, 50) for gpus in (1, 8) for busy_us in (0, 50)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--case", choices=["ours", "bare"], help=argparse.SUPPRESS)
    parser.add_argument("--interval-ms", type=int, default=50, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        start = bare if options.case == "bare" else ours
        print(measure(lambda: start(options.interval_ms / 1e3), options.seconds))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "libnvidia-ml.so.1"
        subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-pthread", SOURCE, "-o", library, "-lm"], check=True)
        for interval_ms, gpus, busy_us in CASES:
            settings = Path(folder) / "gpus.txt"
            settings.write_text(describe(gpus, busy_us))
            shares: dict[str, list[float]] = {"ours": [], "bare": []}
            for _ in range(options.repeats):
                for case, found in shares.items():
                    found.append(run(case, options.seconds, interval_ms, library.parent, settings))
            median = {case: statistics.median(found) for case, found in shares.items()}
            rows.append(
                {"interval_ms": interval_ms, "gpus": gpus, "busy_us": busy_us, "shares_of_a_core": shares, **median}
            )
            print(
                f"{interval_ms} ms, {gpus} GPU, {busy_us:3d} us a call: ours {median['ours']:.2%} of a core, bare {median['bare']:.2%},"
                f" ratio {median['ours'] / median['bare']:.2f}"
            )
    if options.output:
        options.output.write_text(json.dumps({"seconds": options.seconds, "rows": rows}, indent=1))


def describe(gpus: int, busy_us: int) -> str:
    lines = ["-1 init 0", f"-1 gpus {gpus}", f"-1 busy_us {busy_us}"]
    for index in range(gpus):
        lines += [f"{index} uuid GPU-{index}", f"{index} name Stand-in", f"{index} watts 300", f"{index} refresh 0.1"]
    return "\n".join(lines) + "\n"


def run(case: str, seconds: float, interval_ms: int, library: Path, settings: Path) -> float:
    environment = {**os.environ, "LD_LIBRARY_PATH": str(library), "FAKE_NVML": str(settings)}
    words = [
        sys.executable,
        "-P",
        __file__,
        "--case",
        case,
        "--seconds",
        str(seconds),
        "--interval-ms",
        str(interval_ms),
    ]
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


def ours(interval_s: float) -> Callable[[], None]:
    from energy.sampler import start_sampler

    sampler = start_sampler(modelled_watts_per_core=None, process_ids=list, interval_s=interval_s)
    assert any(row.info.source == "nvml-counter" for row in sampler.counters().meters)
    return sampler.stop


def bare(interval_s: float) -> Callable[[], None]:
    import pynvml

    pynvml.nvmlInit()
    handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
    stopped = threading.Event()

    def conditions(handle: object) -> None:
        pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle)
        pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM)
        pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_MEM)
        pynvml.nvmlDeviceGetTemperatureV(handle, pynvml.NVML_TEMPERATURE_GPU)
        pynvml.nvmlDeviceGetEnforcedPowerLimit(handle)
        pynvml.nvmlDeviceGetComputeRunningProcesses_v3(handle)

    def loop() -> None:
        due = 0.0
        while not stopped.wait(interval_s):
            for handle in handles:
                pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
                pynvml.nvmlDeviceGetFieldValues(handle, [(186, 0)])
            if (now := time.monotonic()) >= due:
                due = now + 1
                for handle in handles:
                    conditions(handle)

    thread = threading.Thread(target=loop)
    thread.start()

    def stop() -> None:
        stopped.set()
        thread.join()

    return stop


if __name__ == "__main__":
    main()
