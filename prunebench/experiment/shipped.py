"""The experiments that ship: `prunebench run demo` in any folder."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from prunebench.experiment.file import ExperimentError

_WHEEL = "prunebench_demo"  # built from examples/pyproject.toml
_CHECKPOINT = Path("examples", "tinyglu", "config.json")
_BEST_KNOWN = {"demo", "quick"}


def find_experiment(name: Path) -> Path:
    """The file of that name, else the shipped experiment that a plain word such as `demo` names.

    A name of neither is returned as it is. Raises ExperimentError if the wheel that has the demo is not installed.
    """
    if name.exists() or name.suffix or name.parent != Path():
        return name
    for place in _places():
        if (file := place / "experiments" / f"{name}.toml").is_file():
            return file
    if name.name in _BEST_KNOWN:
        raise ExperimentError(
            f"EXPERIMENT {name}: no such file here, and the demo's wheel is not installed: `make wheel` in a clone "
            f"writes dist/{_WHEEL}-…whl, which is installed beside prunebench"
        )
    return name


def _places() -> Iterator[Path]:
    """The clone, if this is one, and the demo's wheel, if it is installed."""
    clone = Path(__file__).parents[2]
    spec = find_spec(_WHEEL)
    wheel = map(Path, (spec and spec.submodule_search_locations) or ())
    yield from (place for place in (clone, *wheel) if (place / _CHECKPOINT).is_file())
