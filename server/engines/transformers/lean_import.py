"""Importing transformers without the packages that it imports wherever they are installed, and that serving does not need."""

from __future__ import annotations

import sys
from importlib import import_module

# For assisted generation and for losses of object detection: a quarter of the CPU time until the engine is ready.
_OPTIONAL = ("sklearn", "scipy")


def import_transformers() -> None:
    """Import its models; it takes the optional packages for not installed, unless they are imported already."""
    hidden = [name for name in _OPTIONAL if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: what Python does not look for
    try:
        import_module("transformers.models.auto.modeling_auto")
    finally:
        for name in hidden:
            del sys.modules[name]
