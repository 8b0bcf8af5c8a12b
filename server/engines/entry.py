"""What the rest of the product knows of an engine before it runs; describing one imports nothing that it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from server.engines.base import Engine, EngineError


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineEntry:
    """One engine. Command line, experiment schema, `prunebench host`, `prunebench doctor` and the forecast read it.

    A new engine defines its entry in its own module and `server/engines/registry.py` registers it.
    """

    name: str
    summary: str  # one line for `prunebench doctor`
    factory: str  # "module:callable", imported when the engine is made; (checkpoint, options as text) → Engine
    options: str  # "module:class" of its options, a dataclass or pydantic model; the module must not import torch
    # Options that a request over HTTP may set on a server that `prunebench host` starts: sizes, lengths, dtype, quantization,
    # parallelism, caching and scheduling. Never one that names a path, a model, a class, a plug-in or an address: it could
    # run other code. None: all of them.
    tunables: frozenset[str] | None = None
    packages: tuple[str, ...] = ()  # modules that must be importable
    distributions: tuple[str, ...] = ()  # the first one installed gives the version
    remedy: str = ""  # how to install what is missing
    missing_library: Callable[[], str | None] = lambda: None  # a system library to install, with its command
    suits_machine: Callable[[], bool] = lambda: False  # whether `auto` may take it here, once it is installed
    needs_config: bool = True  # whether it reads the checkpoint's config.json
    start_s: float = 15.0  # typical time from start to healthy, for forecasts
    # Whether several may start at the same time on one machine: not if one takes a share of the memory that it finds free.
    starts_together: bool = False
    # Options that add a draft, (folder of its model, None for n-grams; tokens proposed at a time) → options; None: no speculative
    # decoding.
    draft_options: Callable[[Path | None, int], Mapping[str, str]] | None = None
    # (TTFT, TPOT) in seconds where the options determine them; None: they depend on model and machine.
    known_times: Callable[[Mapping[str, str]], tuple[float, float]] | None = None

    def installed(self) -> bool:
        """Whether its packages can be imported."""
        return all(find_spec(package) for package in self.packages)

    def version(self) -> str | None:
        """Of the first distribution that is installed; None without any."""
        for name in self.distributions:
            try:
                return metadata.version(name)
            except metadata.PackageNotFoundError:
                continue
        return None

    def check(self) -> None:
        """Raise EngineError naming what to install, if this machine lacks it."""
        if not self.installed():
            raise EngineError(f"--engine {self.name}: not installed; {self.remedy}")
        if lacking := self.missing_library():
            raise EngineError(f"--engine {self.name}: {lacking}")

    def tunable_over_http(self) -> frozenset[str]:
        """Names of the options that a request to `prunebench host` may set."""
        if self.tunables is not None:
            return self.tunables
        options = self.options_class()
        return frozenset(getattr(options, "model_fields", None) or (field.name for field in fields(options)))

    def options_class(self) -> Any:
        """The class that `options` names."""
        return _imported(self.options)

    def make(self, checkpoint: Path, options: Mapping[str, str]) -> Engine:
        """The engine, not yet started. Raises EngineError for options it does not have."""
        engine: Engine = _imported(self.factory)(checkpoint, options)
        return engine


def _imported(place: str) -> Any:
    """What stands at "module:name"."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
