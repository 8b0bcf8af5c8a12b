"""prunebench: what a width-pruned language model really costs to serve.

For notebooks: `prunebench.load_run("runs/demo").cells()` is a data frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reports.exports.frames import load_run

__all__ = ["__version__", "load_run"]
__version__: str


def __getattr__(name: str) -> Any:
    """Imported or read when it is asked for: either takes longer than all else of `prunebench --help`."""
    if name == "load_run":
        from reports.exports.frames import load_run

        return load_run
    if name == "__version__":
        from importlib.metadata import version

        return version("prunebench")
    raise AttributeError(f"module {__name__} has no attribute {name}")
