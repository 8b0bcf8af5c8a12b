"""`prunebench host`: starts and stops servers on this machine for runners elsewhere.

    GET    /health            200 once it listens; needs no key
    GET    /servers           {"servers": [{"name", "port", "model", "load_s", "alive"}, ...]}
    PUT    /servers/{name}    body HostedServer; answers once it is healthy: {"name", "port", "model", "load_s", "alive"}
    DELETE /servers/{name}    204; ending one that is not there is no error
    GET    /targets           the same servers as Prometheus' HTTP service discovery wants them

A server asked for again under its name with the same settings is the one that runs; with other settings it is replaced.
Only checkpoints below the folders named at the start are served. A runner reaches the servers at this host's address, so
the ports are a short, fixed range, and they want the same key as this API.
"""

from __future__ import annotations

import contextlib
import hmac
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi import Path as PathParameter
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from prunebench.serving import RunningServer, ServerCommand, ServerStartError, start_server
from server.settings import LOOPBACK_HOSTS, ServeError

# Of a server, and of its log file.
Name = Annotated[str, PathParameter(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


class HostedServer(BaseModel):
    """What to serve and how; `checkpoint` is a path on the host."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    checkpoint: Path
    model: str
    engine: Literal["auto", "vllm", "transformers", "synthetic"] = "auto"
    options: dict[str, str] = {}
    modelled_watts_per_core: float | None = Field(default=None, gt=0)
    start_timeout_s: float = Field(default=600, gt=0)


@dataclass(frozen=True)
class HostSettings:
    """Where to listen, what may be served, and where servers may listen."""

    roots: Sequence[Path]
    logs: Path
    host: str = "127.0.0.1"
    port: int = 7000
    first_port: int = 8000
    most_servers: int = 10
    api_key_file: Path | None = None

    def api_key(self) -> str | None:
        """Raises ServeError for a file that cannot be read or is empty, and for an open host without a key."""
        if self.api_key_file is None:
            if self.host not in LOOPBACK_HOSTS:
                raise ServeError(f"--host {self.host}: others could start servers here; give --api-key-file")
            return None
        try:
            key = self.api_key_file.read_text("utf-8").strip()
        except OSError as error:
            raise ServeError(f"--api-key-file {self.api_key_file}: {error.strerror}") from None
        if not key:
            raise ServeError(f"--api-key-file {self.api_key_file}: is empty")
        return key


@dataclass
class Fleet:
    """The servers that run here, by name. Its methods block and may be called from several threads."""

    settings: HostSettings
    _running: dict[str, tuple[HostedServer, RunningServer, int]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, name: str, wanted: HostedServer) -> dict[str, Any]:
        """A healthy server under that name. Raises HTTPException 403, 404, 409 or 502 saying why there is none."""
        self._check(wanted.checkpoint)
        with self._lock:
            found = self._running.get(name)
            if found is None or found[0] != wanted or not found[1].alive():
                self._end(name)
                port = self._free_port()
                self._running[name] = (wanted, self._start(name, wanted, port), port)
            return self._described(name)

    def delete(self, name: str) -> None:
        """End it, if it is there."""
        with self._lock:
            self._end(name)

    def all(self) -> list[dict[str, Any]]:
        """What runs."""
        return [self._described(name) for name in list(self._running)]

    def close(self) -> None:
        """End them all."""
        with self._lock:
            for name in list(self._running):
                self._end(name)

    def _check(self, checkpoint: Path) -> None:
        resolved = checkpoint.resolve()
        if not any(resolved.is_relative_to(root.resolve()) for root in self.settings.roots):
            roots = ", ".join(map(str, self.settings.roots))
            raise HTTPException(403, f"{checkpoint} is not below what this host serves from ({roots})")
        if not (resolved / "config.json").is_file():
            raise HTTPException(404, f"there is no checkpoint at {checkpoint} on this host (it has no config.json)")

    def _free_port(self) -> int:
        first = self.settings.first_port
        taken = {port for _, _, port in self._running.values()}
        free = (port for port in range(first, first + self.settings.most_servers) if port not in taken)
        try:
            return next(free)
        except StopIteration:
            raise HTTPException(
                409, f"{len(taken)} servers run here already, and --most-servers allows no more"
            ) from None

    def _start(self, name: str, wanted: HostedServer, port: int) -> RunningServer:
        command = ServerCommand(
            wanted.checkpoint,
            wanted.model,
            wanted.engine,
            wanted.options,
            wanted.modelled_watts_per_core,
            host=self.settings.host,
            port=port,
            api_key_file=self.settings.api_key_file,
        )
        try:
            return start_server(
                command,
                self.settings.logs / f"{name}.log",
                start_timeout_s=wanted.start_timeout_s,
                request_timeout_s=60,
            )
        except ServerStartError as error:
            raise HTTPException(502, str(error)) from None

    def _end(self, name: str) -> None:
        found = self._running.pop(name, None)
        if found is not None:
            found[1].stop()

    def _described(self, name: str) -> dict[str, Any]:
        wanted, server, port = self._running[name]
        return {"name": name, "port": port, "model": wanted.model, "load_s": server.load_s, "alive": server.alive()}


def create_app(fleet: Fleet, key: str | None) -> FastAPI:
    """The API over `fleet`."""
    app = FastAPI(title="prunebench host", openapi_url=None, docs_url=None, redoc_url=None)

    @app.middleware("http")
    async def guarded(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        given = request.headers.get("authorization", "")
        wanted = f"Bearer {key}"
        if (
            key is not None
            and request.url.path != "/health"
            and not hmac.compare_digest(given.encode(), wanted.encode())
        ):
            return JSONResponse({"detail": "this host wants an API key"}, 401, {"www-authenticate": "Bearer"})
        return await go_on(request)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/servers")
    async def servers() -> dict[str, Any]:
        return {"servers": fleet.all()}

    @app.get("/targets")
    async def targets(request: Request) -> list[dict[str, Any]]:
        return [
            {"targets": [f"{request.url.hostname}:{one['port']}"], "labels": {"configuration": one["name"]}}
            for one in fleet.all()
        ]

    @app.put("/servers/{name}")
    async def put(name: Name, wanted: HostedServer) -> dict[str, Any]:
        return await run_in_threadpool(fleet.put, name, wanted)

    @app.delete("/servers/{name}", status_code=204)
    async def delete(name: Name) -> None:
        await run_in_threadpool(fleet.delete, name)

    return app


def host_servers(settings: HostSettings, say: Callable[[str], None]) -> None:
    """Listen until a signal; then end every server. Raises ServeError for settings to mend."""
    key = settings.api_key()
    for root in settings.roots:
        if not root.is_dir():
            raise ServeError(f"--root {root}: there is no such folder")
    settings.logs.mkdir(parents=True, exist_ok=True)
    fleet = Fleet(settings)
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(fleet, key),
            host=settings.host,
            port=settings.port,
            lifespan="off",
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=5,
        )
    )
    say(f"prunebench host: listening on http://{settings.host}:{settings.port}")
    with contextlib.closing(fleet), contextlib.suppress(KeyboardInterrupt):
        server.run()
