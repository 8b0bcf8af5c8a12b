"""Ctrl-C while a load is measured: recorded, and handled where no work is half done, so that finished requests are written."""

from __future__ import annotations

import contextlib
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

IN_FLIGHT_S = 2.0  # from Ctrl-C on, for what is in flight to end
_CLOSING_S = 4.0  # from Ctrl-C on, for meters and counters: with stopping and writing, at most 5 s
_LOOK_S = 0.05
_RAISE_AGAIN_S = 0.01
_Found = TypeVar("_Found")


def raise_lost_interrupts() -> None:
    """From now on, a Ctrl-C that Python drops because it came inside a finalizer (`__del__`) is sent again.

    An exception cannot leave a finalizer or a garbage collector's callback: Python prints it as "Exception ignored in" and
    continues, so that the process would run to its end as if there had been no Ctrl-C.
    """
    report = sys.unraisablehook
    main = threading.main_thread().ident

    def again(lost: sys.UnraisableHookArgs) -> None:
        if main is None or not issubclass(lost.exc_type, KeyboardInterrupt):
            report(lost)
            return
        timer = threading.Timer(_RAISE_AGAIN_S, signal.pthread_kill, (main, signal.SIGINT))
        timer.daemon = True
        timer.start()

    sys.unraisablehook = again


class Interrupt:
    """From `note` to the end of the context the first Ctrl-C is recorded; the second raises KeyboardInterrupt.

    For the main thread. It has no effect before `note`.
    """

    def __init__(self) -> None:
        self._came_s: float | None = None
        self._before: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    @property
    def came(self) -> bool:
        """Whether there was a Ctrl-C."""
        return self._came_s is not None

    def came_before(self, seconds: float) -> bool:
        """Whether there was a Ctrl-C, `seconds` ago or longer."""
        return self._came_s is not None and time.monotonic() - self._came_s >= seconds

    def note(self) -> None:
        """Record Ctrl-C from now on. Where it is ignored, as in the background of a script, it stays ignored."""
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            self._before = signal.signal(signal.SIGINT, self._came)

    def bounded(self, call: Callable[[], _Found], otherwise: _Found) -> _Found:
        """Call `call`; return `otherwise` if it has not ended some seconds after a Ctrl-C.

        It runs in its own thread, which is then abandoned.
        """
        if self._before is None:
            return call()
        found: queue.SimpleQueue[tuple[_Found, None] | tuple[None, BaseException]] = queue.SimpleQueue()

        def run() -> None:
            try:
                found.put((call(), None))
            except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
                found.put((None, error))

        threading.Thread(target=run, daemon=True).start()
        while not self.came_before(_CLOSING_S):
            with contextlib.suppress(queue.Empty):
                value, error = found.get(timeout=_LOOK_S)
                if error is not None:
                    raise error
                return value  # type: ignore[return-value]  # there is no error
        return otherwise

    def _came(self, *_: object) -> None:
        self._came_s = time.monotonic()
        signal.signal(signal.SIGINT, self._before)
