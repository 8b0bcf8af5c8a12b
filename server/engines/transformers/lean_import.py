"""Importing transformers without the packages that it imports wherever they are installed, and that are not needed."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from importlib import import_module

# For assisted generation and for losses of object detection: a quarter of the CPU time until the engine is ready.
_OPTIONAL = ("sklearn", "scipy")
_QUANTIZING = ("torchao", "bitsandbytes")


def import_transformers(*, quantizing: bool = False) -> None:
    """Import its models; it takes the optional packages for not installed, unless they are imported already.

    Those that quantize weights are optional too, if not `quantizing`.
    """
    with _hidden(*_OPTIONAL, *(() if quantizing else _QUANTIZING)):
        import_module("transformers.models.auto.modeling_auto")
        found = import_module("transformers.utils.import_utils")
        found.is_torchao_available()  # it looks once, and here
        found.is_bitsandbytes_available()


def import_tokenizers() -> None:
    """Import its tokenizers, in a quarter of the CPU time that its models take.

    In a process that has not imported torch before, transformers has only tokenizers from then on.
    """
    logger = logging.getLogger("transformers")
    before = logger.disabled
    logger.disabled = True  # it warns of no torch
    with _hidden("torch", *_OPTIONAL):
        try:
            import_module("transformers.models.auto.tokenization_auto")
        finally:
            logger.disabled = before


@contextlib.contextmanager
def _hidden(*packages: str) -> Iterator[None]:
    """Let Python take the packages for not installed, unless they are imported already."""
    hidden = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: what Python does not look for
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
