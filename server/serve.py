"""`prunebench serve`: from a checkpoint folder to a listening server and an orderly exit.

    check the settings   before anything heavy is imported, so that mistakes are reported immediately
    bind the port        before loading, which takes minutes, so that a port in use is reported first
    listen               /health answers 503 "loading" when the loading engine leaves the event loop time
    load the engine      then every endpoint answers
    watch the engine     until a signal, or until the engine has died

Exit status: 0 after SIGINT or SIGTERM, EXIT_ENGINE_DIED (3) after the engine has died. A signal closes the port, lets
running requests finish for `shutdown_grace_s` and then aborts them; a second signal aborts them immediately.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import signal
import socket
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import uvloop

from energy.meters.base import EnergyError
from energy.sampler import Sampler, start_sampler
from server.api.app import create_app
from server.api.endpoints import Stage
from server.engines.base import Engine, EngineDeadError
from server.engines.entry import EngineEntry
from server.machine.cpu_affinity import yield_cores_to
from server.machine.memory import Loading
from server.model import Model
from server.settings import ServeError, ServeSettings, check_settings, read_api_key
from server.text.template import find_template
from server.text.tokenizer import Tokenizer
from server.transport.connection import http_server

EXIT_STOPPED = 0
EXIT_ENGINE_DIED = 3
_HEALTH_INTERVAL_S = 0.25
_PROGRESS_INTERVAL_S = 10.0
_ERROR_FLUSH_S = 0.5  # for requests in flight to report to their clients that the engine has died
_ENGINE_STOP_S = 15.0  # vLLM takes 5
# Longest wait of the event loop for a thread of `off_loop` that holds Python's lock; Python's default is 5 ms.
_THREAD_SWITCH_S = 0.001


def serve(settings: ServeSettings) -> int:
    """Serve until a signal; the exit status is the return value. Raises UserError for what the user must fix."""
    entry = check_settings(settings)
    api_key = read_api_key(settings)
    tokenizer = Tokenizer(settings.checkpoint)
    sys.setswitchinterval(_THREAD_SWITCH_S)
    with _listening_socket(settings) as port, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_Serving(settings, entry, tokenizer, api_key).run(port))


@contextmanager
def _listening_socket(settings: ServeSettings) -> Iterator[socket.socket]:
    """A socket that listens on the port, so that no other process takes it while the model loads."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as port:
        port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            port.bind((settings.host, settings.port))
            port.listen(2048)
        except OSError as error:
            if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
                raise ServeError(f"--host {settings.host}: not an address of this machine") from None
            raise ServeError(f"--port {settings.port}: cannot listen on {settings.host}: {error.strerror}") from None
        yield port


class _Serving:
    """The server from its start to its exit."""

    def __init__(self, settings: ServeSettings, entry: EngineEntry, tokenizer: Tokenizer, api_key: str | None) -> None:
        self._settings = settings
        self._entry = entry
        self._tokenizer = tokenizer
        self._template = find_template(settings.checkpoint)
        self._stage = Stage()
        self._stopping = asyncio.Event()
        app = create_app(self._stage, settings, api_key=api_key)
        self._server = http_server(app, settings)

    async def run(self, port: socket.socket) -> int:
        """Serve on the listening socket; the exit status. Raises UserError if the engine cannot load."""
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal)
        url = _url(port)
        http = asyncio.create_task(self._server.serve(sockets=[port]))
        engine = sampler = None
        try:
            engine = self._make_engine()
            loading = Loading()
            if not await self._unless_stopped(self._start(engine), loading):
                return EXIT_STOPPED
            sampler = self._start_sampler(engine)
            _freeze_loaded_objects()
            if others := set(engine.process_ids()) - {os.getpid()}:
                yield_cores_to(others)
            self._stage.model = Model(self._settings, engine, self._tokenizer, self._template, sampler)
            footprint = loading.done(engine.process_ids())
            self._stage.model.metrics.loaded(footprint)
            _log(f"ready at {url} as {self._stage.model.name!r}, {footprint}")
            return await self._watch(engine)
        finally:
            self._server.should_exit = True
            await http
            if sampler is not None:
                sampler.stop()
            gc.unfreeze()  # frozen objects are never destroyed, and some libraries warn about that when Python exits
            if engine is not None:
                with suppress(TimeoutError):
                    await asyncio.wait_for(engine.shutdown(), _ENGINE_STOP_S)

    def _make_engine(self) -> Engine:
        _log(f"loading {self._settings.checkpoint} with the {self._entry.name} engine")
        return self._entry.make(self._settings.checkpoint, self._settings.engine_options)

    async def _start(self, engine: Engine) -> None:
        try:
            await engine.start()
        except EngineDeadError as error:
            raise ServeError(str(error)) from None

    async def _unless_stopped(self, work: Coroutine[Any, Any, None], loading: Loading) -> bool:
        """Whether `work` finished before a signal came; logs every `_PROGRESS_INTERVAL_S` that it is still running."""
        working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(self._stopping.wait())
        try:
            while not (working.done() or stopping.done()):
                done, _ = await asyncio.wait(
                    (working, stopping), timeout=_PROGRESS_INTERVAL_S, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    _log(f"still loading after {loading.seconds:.0f} s")
            if not working.done():
                return False
            working.result()
            return True
        finally:
            working.cancel()
            stopping.cancel()
            await asyncio.gather(working, stopping, return_exceptions=True)

    def _start_sampler(self, engine: Engine) -> Sampler:
        watts = self._settings.modelled_watts_per_core
        try:
            return start_sampler(
                modelled_watts_per_core=watts, process_ids=engine.process_ids, extra_meters=engine.meters()
            )
        except EnergyError as error:
            raise ServeError(str(error)) from None

    async def _watch(self, engine: Engine) -> int:
        while not self._stopping.is_set():
            try:
                await engine.check_health()
            except EngineDeadError as error:
                _log(f"the engine has died: {error}")
                await asyncio.sleep(_ERROR_FLUSH_S)
                self._end_requests()
                return EXIT_ENGINE_DIED
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _HEALTH_INTERVAL_S)
        return EXIT_STOPPED

    def _on_signal(self) -> None:
        self._server.should_exit = True
        if self._stopping.is_set():
            self._end_requests()
            return
        loaded = self._stage.model is not None
        pending = (
            f"running requests have {self._settings.shutdown_grace_s:g} s to finish"
            if loaded
            else "loading cannot be cut short"
        )
        _log(f"stopping; {pending}")
        self._stopping.set()
        asyncio.get_running_loop().call_later(self._settings.shutdown_grace_s, self._end_requests)

    def _end_requests(self) -> None:
        if self._stage.model is not None:
            self._stage.model.in_flight.abort()


def _freeze_loaded_objects() -> None:
    """Exclude loaded objects from Python's cyclic garbage collection and collect less often: tokens leave no cycles.

    A full collection over a loaded vLLM stops every stream for most of a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)


def _url(port: socket.socket) -> str:
    host, number = port.getsockname()[:2]
    return f"http://[{host}]:{number}" if ":" in host else f"http://{host}:{number}"


def _log(line: str) -> None:
    try:
        sys.stderr.write(f"prunebench serve: {line}\n")
        sys.stderr.flush()
    except OSError:  # whoever read the log is no longer there: the server continues, and stops, without one
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stderr.fileno())
