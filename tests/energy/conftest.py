"""The stand-in for libnvidia-ml.so.1, built from C, and traces with a known truth."""

from __future__ import annotations

import ctypes
import math
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pynvml
import pytest

SOURCE = Path(__file__).parent / "known_power" / "fake_nvml.c"


@dataclass(frozen=True)
class PowerCurve:
    """P(t) = watts + amplitude * sin(2 pi t / period), as fake_nvml.c has it."""

    watts: float = 300.0
    amplitude: float = 0.0
    period: float = 1.0

    def joules(self, start_ns: int, end_ns: int) -> float:
        start, end = start_ns / 1e9, end_ns / 1e9
        turn = 2 * math.pi / self.period
        return self.watts * (end - start) - self.amplitude / turn * (math.cos(turn * end) - math.cos(turn * start))

    def settings(self) -> dict[str, object]:
        return {"watts": self.watts, "amplitude": self.amplitude, "period": self.period}


@pytest.fixture(scope="session")
def fake_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture(scope="session")
def old_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("old-nvml"), "-DOLD_DRIVER")


def build(folder: Path, *flags: str) -> Path:
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.fail("the energy tests need gcc: they build a stand-in for NVIDIA's library (`apt-get install gcc`)")
    library = folder / "libnvidia-ml.so.1"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O2", "-pthread", *flags, str(SOURCE), "-o", str(library), "-lm"], check=True
    )
    return library


GpuFactory = Callable[..., None]


@pytest.fixture
def fake_gpus(fake_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GpuFactory:
    """Put GPUs into this machine: one dict of fake_nvml.c's keys each. Everything above the C calls is the real module."""

    def install(*gpus: dict[str, object], init: int = 0, library: Path = fake_library) -> None:
        file = tmp_path / "gpus.txt"
        file.write_text(settings_text(*gpus, init=init))
        monkeypatch.setenv("FAKE_NVML", str(file))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr(pynvml, "nvmlLib", ctypes.CDLL(str(library)))
        monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})

    return install


@dataclass
class Simulation:
    """The stand-in's clock and ours, moved by hand: hours of a load take no time."""

    library: ctypes.CDLL
    now_ns: int = 0
    our_wall_clock_s: float = 1.7e9  # of moment 0; the library's own stamps differ from it only if a test sets them

    def go_to(self, seconds: float) -> None:
        self.now_ns = round(seconds * 1e9)
        self.library.stand_in_clock(ctypes.c_double(self.now_ns / 1e9))

    def set_wall_clock(self, by_s: float) -> None:
        self.our_wall_clock_s += by_s
        self.library.stand_in_epoch(ctypes.c_double(self.our_wall_clock_s))

    def joules(self, start_ns: int, end_ns: int, gpu: int = 0) -> float:
        truth: float = self.library.stand_in_joules(gpu, ctypes.c_double(start_ns / 1e9), ctypes.c_double(end_ns / 1e9))
        return truth

    def monotonic_ns(self) -> int:
        return self.now_ns

    def time_ns(self) -> int:
        return self.now_ns + round(self.our_wall_clock_s * 1e9)

    def sleep(self, seconds: float) -> None:
        """What probing does between two tries passes here, too."""
        self.go_to(self.now_ns / 1e9 + seconds)


@pytest.fixture
def simulated(fake_library: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulation]:
    """Give the stand-in, and the modules that read it, a clock that moves only by hand."""
    library = ctypes.CDLL(str(fake_library))
    library.stand_in_joules.restype = ctypes.c_double
    simulation = Simulation(library)
    for module in ("energy.meters.nvidia.nvml", "energy.meters.nvidia.samples", "energy.meters.nvidia.gpus"):
        monkeypatch.setattr(f"{module}.time", simulation)
    library.stand_in_epoch(ctypes.c_double(simulation.our_wall_clock_s))
    simulation.go_to(1.0)
    yield simulation
    library.stand_in_clock(ctypes.c_double(-1.0))


def settings_text(*gpus: dict[str, object], init: int = 0) -> str:
    lines = [f"-1 init {init}", f"-1 gpus {len(gpus)}"]
    for index, gpu in enumerate(gpus):
        settings = {"uuid": f"GPU-{index}000-aaaa", "name": "Stand-in 1000", "watts": 300, **gpu}
        lines += [f"{index} {key} {value}" for key, value in settings.items()]
    return "\n".join(lines) + "\n"
