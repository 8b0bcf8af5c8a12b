"""A load whose work is known: square matrix products, one after another, that go on and off at known moments."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from typing import Any, Self

_BATCH_S = 0.01  # about as long a batch of products takes, so that `stop` is quick
_BUSY_WATTS, _IDLE_WATTS = 600.0, 100.0  # that a stand-in for NVML then shows


class Matrices:
    """Products from a thread of its own, in bfloat16 on the GPU or in float32 on the CPU. A context: its end ends the thread."""

    def __init__(self, size: int, *, on_gpu: bool) -> None:
        self._size = size
        self._batch = _on_gpu(size) if on_gpu else _on_cpu(size)
        self._batch(1)  # the first takes longer
        began = time.monotonic()
        self._batch(4)
        self._count = max(1, round(4 * _BATCH_S / (time.monotonic() - began)))
        self._show = None if on_gpu else _stand_in()
        self._products, self._busy_s = 0, 0.0
        self._wanted, self._idle, self._ended = threading.Event(), threading.Event(), False
        self._idle.set()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._wanted.set()
        self._thread.join()

    def start(self) -> int:
        """Begin; returns when, in ns of the monotonic clock."""
        now = time.monotonic_ns()
        self._idle.clear()
        self._wanted.set()
        if self._show:
            self._show(_BUSY_WATTS)
        return now

    def stop(self) -> int:
        """End once the products under way are done; returns when."""
        self._wanted.clear()
        self._idle.wait()
        if self._show:
            self._show(_IDLE_WATTS)
        return time.monotonic_ns()

    def summary(self) -> dict[str, Any]:
        """What was done in all."""
        flops = 2 * self._size**3 * self._products
        return {"size": self._size, "products": self._products, "busy_s": self._busy_s, "flops": flops}

    def _work(self) -> None:
        while True:
            self._wanted.wait()
            if self._ended:
                return
            began = time.monotonic()
            while self._wanted.is_set() and not self._ended:
                self._batch(self._count)
                self._products += self._count
            self._busy_s += time.monotonic() - began
            self._idle.set()


def _on_gpu(size: int) -> Callable[[int], None]:
    import torch

    one, other = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    product = torch.empty_like(one)

    def batch(count: int) -> None:
        for _ in range(count):
            torch.matmul(one, other, out=product)
        torch.cuda.synchronize()

    return batch


def _on_cpu(size: int) -> Callable[[int], None]:
    import numpy as np

    one = np.random.default_rng(0).standard_normal((size, size), dtype=np.float32)
    product = np.empty_like(one)

    def batch(count: int) -> None:
        for _ in range(count):
            np.matmul(one, one, out=product)
        time.sleep(_BATCH_S)  # a rehearsal needs no more of a core than that

    return batch


def _stand_in() -> Callable[[float], None] | None:
    """Sets the power that this process reads of the stand-in for NVML; None if it has a real one, or none."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
        show = library.stand_in_watts
    except (OSError, AttributeError):
        return None
    return lambda watts: show(0, ctypes.c_double(watts))
