"""The engines, in the order in which `auto` tries them."""

from __future__ import annotations

from server.engines.base import EngineError
from server.engines.entry import EngineEntry
from server.engines.synthetic.entry import SYNTHETIC
from server.engines.transformers.entry import TRANSFORMERS
from server.engines.vllm.entry import VLLM

AUTO = "auto"
_ENTRIES: dict[str, EngineEntry] = {}


def register(entry: EngineEntry) -> None:
    """Offer an engine everywhere. Raises ValueError for a name that is taken."""
    if entry.name in (AUTO, *_ENTRIES):
        raise ValueError(f"there is an engine {entry.name} already")
    _ENTRIES[entry.name] = entry


register(VLLM)
register(TRANSFORMERS)
register(SYNTHETIC)


def engines() -> list[EngineEntry]:
    """All registered engines."""
    return list(_ENTRIES.values())


def engine_choices() -> tuple[str, ...]:
    """What `--engine` and `[serve] engine` take."""
    return (AUTO, *_ENTRIES)


def find_engine(name: str) -> EngineEntry | None:
    """The engine of that name; None for `auto`."""
    return None if name == AUTO else _ENTRIES[name]


def choose_engine(name: str) -> EngineEntry:
    """The engine of that name, or for `auto` the first that is installed and suits the machine; checked to be installed.

    Raises EngineError naming what to install. Nothing heavy is imported.
    """
    if named := find_engine(name):
        named.check()
        return named
    for entry in _ENTRIES.values():
        if entry.installed() and entry.suits_machine():
            return entry
    remedies = "; ".join(f"{entry.name}: {entry.remedy}" for entry in _ENTRIES.values() if entry.remedy)
    raise EngineError(f"--engine auto: no engine is installed; {remedies}")
