"""The servers that a `prunebench host` runs: started as tasks of its event loop, by name, on a short range of ports."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import httpx
from fastapi import HTTPException
from pydantic import Field

from base.key_file import read_key
from base.records import Record
from prunebench.servers.commands import ServerCommand
from prunebench.servers.process import POLL_S, RunningServer, ServerStartError, launch_server
from server.engines.base import EngineError
from server.engines.registry import AUTO, choose_engine
from server.settings import LOOPBACK_HOSTS, EngineName, ServeError

_STOP_S = 8.0  # from the signal to the kill: a host stops within ten seconds
_HEALTH_S = 5.0
_ANSWER_S = 60.0  # for a request to a hosted server, by this host
_DAY_S = 86_400.0


class Draft(Record):
    """A draft model for speculative decoding; `checkpoint` is a path on the host."""

    checkpoint: Path
    tokens: int = Field(ge=1, le=32)  # that it proposes at a time


class HostedServer(Record):
    """What to serve and how; `checkpoint` is a path on the host. `options` are the engine's `tunables` and no others."""

    checkpoint: Path
    model: str = Field(pattern=r"^[^\x00-\x1f\x7f]{1,256}$")
    engine: EngineName = AUTO
    options: dict[str, Annotated[str, Field(max_length=1000)]] = {}
    draft: Draft | None = None
    modelled_watts_per_core: float | None = Field(default=None, gt=0, le=1e4, allow_inf_nan=False)
    start_timeout_s: float = Field(default=600, gt=0, le=_DAY_S, allow_inf_nan=False)


@dataclass(frozen=True)
class HostSettings:
    """Where to listen, what may be served, and where servers may listen.

    `options` go to every server; a request over HTTP may not change them.
    """

    roots: Sequence[Path]
    logs: Path
    host: str = "127.0.0.1"
    port: int = 7000
    first_port: int = 8000
    most_servers: int = 10
    api_key_file: Path | None = None
    options: dict[str, str] = field(default_factory=dict)

    def api_key(self) -> str | None:
        """Raises UserError for a file that cannot be read or is empty, and for an open host without a key."""
        if self.api_key_file is None:
            if self.host not in LOOPBACK_HOSTS:
                raise ServeError(f"--host {self.host}: others could start servers here; give --api-key-file")
            return None
        return read_key(self.api_key_file)


@dataclass
class _Slot:
    """The server of a name, from its launch on; `ready` is done once the server is healthy, or fails with the reason."""

    wanted: HostedServer
    port: int
    server: RunningServer
    ready: asyncio.Task[None]
    leaving: bool = False

    @property
    def serves(self) -> bool:
        """Whether it is up or starting."""
        return not self.leaving and (self.server.alive() or not self.ready.done())


@dataclass
class HostedServers:
    """The servers that run or start here, by name. All methods run in one event loop and never block it."""

    settings: HostSettings
    _slots: dict[str, _Slot] = field(default_factory=dict)
    _stops: set[asyncio.Task[None]] = field(default_factory=set)
    _closing: bool = False

    async def put(self, name: str, wanted: HostedServer) -> dict[str, Any]:
        """Start a server under that name and wait until it is healthy. Raises HTTPException 403, 404, 409, 422, 502 or 503 with the reason."""
        command = self._command(wanted)
        while (slot := self._slots.get(name)) is not None and not (slot.wanted == wanted and slot.serves):
            await self._remove(name, slot)
        if slot is None:
            slot = self._launch(name, wanted, command)
        try:
            await asyncio.shield(slot.ready)  # a client that disconnects must not cancel a start that others wait for
        except ServerStartError as error:
            await self._remove(name, slot)
            raise HTTPException(502, str(error)) from None
        except asyncio.CancelledError:
            if not slot.ready.cancelled():
                raise
            why = "this host is stopping" if self._closing else f"the start of {name} was cancelled by another request"
            raise HTTPException(503 if self._closing else 409, why) from None
        try:
            for folder in self._folders(wanted):  # again: the server must have opened what was checked
                self._check(folder)
        except HTTPException:
            await self._remove(name, slot)
            raise
        return self._described(name, slot)

    async def delete(self, name: str) -> None:
        """End it, or cancel its start, if it is there."""
        slot = self._slots.get(name)
        if slot is not None:
            await self._remove(name, slot)

    def all(self) -> list[dict[str, Any]]:
        """What runs; a server that still starts has no `load_s` yet."""
        return [self._described(name, slot) for name, slot in self._slots.items()]

    def begin_closing(self) -> None:
        """Cancel every start and end every server, without waiting; nothing new starts."""
        if self._closing:
            return
        self._closing = True
        for name, slot in list(self._slots.items()):
            task = asyncio.get_running_loop().create_task(self._remove(name, slot))
            self._stops.add(task)

    async def close(self) -> None:
        """End them all, within `_STOP_S` and what a kill takes."""
        self.begin_closing()
        await asyncio.gather(*self._stops)

    def _command(self, wanted: HostedServer) -> ServerCommand:
        """The command of an allowed request. Raises HTTPException 403, 404 or 422 for one that is not."""
        checkpoint, *draft = [self._check(folder) for folder in self._folders(wanted)]
        try:
            engine = choose_engine(wanted.engine)
        except EngineError as error:
            raise HTTPException(422, str(error)) from None
        refused = sorted(set(wanted.options) - (engine.tunable_over_http() - set(self.settings.options)))
        if refused:
            why = "is not among what may be set over HTTP; set it with --engine-option of prunebench host"
            raise HTTPException(403, f"option {', '.join(refused[:10])} of the {engine.name} engine {why}")
        options = {**wanted.options, **self.settings.options}
        if draft and wanted.draft is not None:
            if engine.draft_options is None:
                raise HTTPException(422, f"the {engine.name} engine takes no draft")
            options |= engine.draft_options(draft[0], wanted.draft.tokens)
        return ServerCommand(
            checkpoint,
            wanted.model,
            engine.name,
            options,
            wanted.modelled_watts_per_core,
            host=self.settings.host,
            api_key_file=self.settings.api_key_file,
        )

    @staticmethod
    def _folders(wanted: HostedServer) -> list[Path]:
        return [wanted.checkpoint, *([wanted.draft.checkpoint] if wanted.draft else [])]

    def _check(self, checkpoint: Path) -> Path:
        """The folder with every link resolved; everything in it must lie below a root too."""
        roots = [root.resolve() for root in self.settings.roots]
        resolved = checkpoint.resolve()
        if not any(resolved.is_relative_to(root) for root in roots):
            served = ", ".join(map(str, self.settings.roots))
            raise HTTPException(403, f"{checkpoint} is not below what this host serves from ({served})")
        if not (resolved / "config.json").is_file():
            raise HTTPException(404, f"there is no checkpoint at {checkpoint} on this host (it has no config.json)")
        for file in resolved.rglob("*"):
            if file.is_symlink() and not any(file.resolve().is_relative_to(root) for root in roots):
                raise HTTPException(
                    403, f"{checkpoint}/{file.relative_to(resolved)} links to a file outside the folders of --root"
                )
        return resolved

    def _launch(self, name: str, wanted: HostedServer, command: ServerCommand) -> _Slot:
        """Raises HTTPException 409 if no port is left, 503 if the host is stopping."""
        if self._closing:
            raise HTTPException(503, "this host is stopping")
        taken = {slot.port for slot in self._slots.values()}
        ports = range(self.settings.first_port, self.settings.first_port + self.settings.most_servers)
        port = next((port for port in ports if port not in taken), None)
        if port is None:
            raise HTTPException(409, f"{len(taken)} servers run here already, and --most-servers allows no more")
        log = self.settings.logs / f"{name}.log"
        server = launch_server(replace(command, port=port), log, request_timeout_s=_ANSWER_S)
        ready = asyncio.get_running_loop().create_task(_until_healthy(server, wanted.start_timeout_s))
        slot = self._slots[name] = _Slot(wanted, port, server, ready)
        return slot

    async def _remove(self, name: str, slot: _Slot) -> None:
        """End a server, or cancel its start; its port is free only when it has gone."""
        slot.leaving = True
        slot.ready.cancel()
        slot.server.terminate()
        deadline = time.monotonic() + _STOP_S
        while slot.server.alive() and time.monotonic() < deadline:  # noqa: ASYNC110 - a process is polled
            await asyncio.sleep(POLL_S / 2)
        slot.server.kill()
        if self._slots.get(name) is slot:
            del self._slots[name]

    def _described(self, name: str, slot: _Slot) -> dict[str, Any]:
        up = slot.ready.done()
        return {
            "name": name,
            "port": slot.port,
            "model": slot.wanted.model,
            "load_s": slot.server.load_s if up else None,
            "alive": slot.server.alive(),
        }


async def _until_healthy(server: RunningServer, timeout_s: float) -> None:
    """Raises ServerStartError if it ends, or is not healthy in time."""
    async with httpx.AsyncClient(timeout=_HEALTH_S, trust_env=False) as client:
        while not server.has_started(timeout_s, healthy=await _is_healthy(client, server.endpoint.url)):  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)


async def _is_healthy(client: httpx.AsyncClient, url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return (await client.get(f"{url}/health")).status_code == httpx.codes.OK
    return False
