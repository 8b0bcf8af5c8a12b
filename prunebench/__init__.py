"""prunebench: what a width-pruned language model really costs to serve."""

from __future__ import annotations

__version__: str  # read when it is asked for: importlib.metadata takes longer than all else of `prunebench --help`


def __getattr__(name: str) -> str:
    if name != "__version__":
        raise AttributeError(f"module {__name__} has no attribute {name}")
    from importlib.metadata import version

    return version("prunebench")
