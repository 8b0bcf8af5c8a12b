"""Importing transformers without what it imports wherever it is installed, and a model that runs on one machine does not need."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

from server.engines.hidden import hidden

# For assisted generation and for losses of object detection.
_OPTIONAL = ("sklearn", "scipy")
_QUANTIZING = ("torchao", "bitsandbytes")
_COMPILER = "torch._dynamo"
_INDEXING = f"{_COMPILER}._trace_wrapped_higher_order_op"


@contextlib.contextmanager
def lean_transformers(*, quantizing: bool = False) -> Iterator[None]:
    """Import its models; the body may load one. It takes the optional packages for not installed, unless they are imported already.

    Neither torch's compiler nor its distributed tensors are imported, which with the optional packages is half of the CPU time
    until the engine is ready. Those that quantize weights are optional too, if not `quantizing`; they need the compiler.
    """
    with contextlib.ExitStack() as while_importing:
        if "transformers" not in sys.modules:  # else it has found them
            while_importing.enter_context(hidden(*_OPTIONAL, *(() if quantizing else _QUANTIZING)))
        if not quantizing:
            while_importing.enter_context(_without_distributed())
            while_importing.enter_context(_without_compiler())
        import_module("transformers.models.auto.modeling_auto")
        import_module("transformers.modeling_utils")
        found = import_module("transformers.utils.import_utils")
        found.is_torchao_available()  # it looks once, and here
        found.is_bitsandbytes_available()
        yield


def import_tokenizers() -> None:
    """Import its tokenizers, in a quarter of the CPU time that its models take.

    In a process that has not imported torch before, transformers has only tokenizers from then on.
    """
    logger = logging.getLogger("transformers")
    before = logger.disabled
    logger.disabled = True  # it warns of no torch
    with hidden("torch", *_OPTIONAL):
        try:
            import_module("transformers.models.auto.tokenization_auto")
        finally:
            logger.disabled = before


@contextlib.contextmanager
def _without_distributed() -> Iterator[None]:
    """Let transformers take torch for a build without torch.distributed, as there are some; it asks once, and here."""
    import torch

    asked = torch.distributed.is_available
    torch.distributed.is_available = lambda: False
    try:
        yield
    finally:
        torch.distributed.is_available = asked


@contextlib.contextmanager
def _without_compiler() -> Iterator[None]:
    """A stand-in for torch.compile's modules, unless they are imported already: what only they read is not noted for them.

    Whatever else is asked of it comes from the module itself, which is imported then.
    """
    if _COMPILER in sys.modules:
        yield
        return
    compiler, indexing = ModuleType(_COMPILER), ModuleType(_INDEXING)
    for decorator in ("allow_in_graph", "assume_constant_result", "disable"):
        setattr(compiler, decorator, _unchanged)
    stand_ins = {_COMPILER: compiler, _INDEXING: indexing}
    indexing.TransformGetItemToIndex = _index_by_tensors  # type: ignore[attr-defined]
    compiler.__getattr__ = lambda name: _real_attribute(stand_ins, name)  # type: ignore[method-assign]
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        _remove(stand_ins)


def _unchanged(function: Any = None, *_: Any, **__: Any) -> Any:
    """A decorator, with or without arguments, that leaves the function as it is."""
    return (lambda decorated: decorated) if function is None else function


def _index_by_tensors() -> Any:
    """An object of the class itself, for masks that are no plain function of positions."""
    return import_module(_INDEXING).TransformGetItemToIndex()


def _real_attribute(stand_ins: dict[str, ModuleType], name: str) -> Any:
    if name.startswith("__") and name != "__path__":  # asked of every module by who looks for a function's file
        raise AttributeError(name)
    _remove(stand_ins)
    return getattr(import_module(_COMPILER), name)


def _remove(stand_ins: dict[str, ModuleType]) -> None:
    for name, stand_in in stand_ins.items():
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]
