"""`prunebench host`: starts and stops servers on this machine for runners elsewhere.

    GET    /health            200 once it listens; needs no key
    GET    /servers           {"servers": [{"name", "port", "model", "load_s", "alive"}, ...]}; load_s is null while one starts
    PUT    /servers/{name}    body HostedServer; answers once it is healthy: {"name", "port", "model", "load_s", "alive"}
    DELETE /servers/{name}    204; cancels a start; ending one that is not there is no error
    GET    /targets           the same servers as Prometheus' HTTP service discovery reads them

A server asked for again under its name with the same settings is the one that runs; with other settings it is replaced.
Only checkpoints below the folders named at the start are served, and only engine options that cannot run other code may be
set (docs/explanation/security.md). A runner reaches the servers at this host's address, so the ports are a short, fixed range, and they
take the same key as this API.
"""

from __future__ import annotations

import contextlib
import hmac
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import JSONResponse

from prunebench.servers.pool import HostedServer, HostedServers, HostSettings
from prunebench.terminal.console import err, print_line
from server.settings import ServeError

# Of a server, and of its log file.
Name = Annotated[str, PathParameter(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
_GRACE_S = 5  # for requests in flight when a signal comes


def create_app(servers: HostedServers, key: str | None) -> FastAPI:
    """The API over `servers`."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await servers.close()

    app = FastAPI(title="prunebench host", lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None)

    @app.middleware("http")
    async def guarded(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        given = request.headers.get("authorization", "")
        expected = f"Bearer {key}"
        if (
            key is not None
            and request.url.path != "/health"
            and not hmac.compare_digest(given.encode(), expected.encode())
        ):
            return JSONResponse({"detail": "this host requires an API key"}, 401, {"www-authenticate": "Bearer"})
        return await call_next(request)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/servers")
    async def listed() -> dict[str, Any]:
        return {"servers": servers.all()}

    @app.get("/targets")
    async def targets(request: Request) -> list[dict[str, Any]]:
        return [
            {"targets": [f"{request.url.hostname}:{one['port']}"], "labels": {"configuration": one["name"]}}
            for one in servers.all()
        ]

    @app.put("/servers/{name}")
    async def put(name: Name, wanted: HostedServer) -> dict[str, Any]:
        return await servers.put(name, wanted)

    @app.delete("/servers/{name}", status_code=204)
    async def delete(name: Name) -> None:
        await servers.delete(name)

    return app


class _Server(uvicorn.Server):
    """Ends the hosted servers as soon as a signal comes, so that requests that wait for a start are answered immediately."""

    def __init__(self, config: uvicorn.Config, servers: HostedServers) -> None:
        super().__init__(config)
        self._servers = servers

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Called by uvicorn when its main loop has ended."""
        self._servers.begin_closing()
        await super().shutdown(sockets)


def host_servers(settings: HostSettings) -> None:
    """Listen until a signal; then end every server. Raises ServeError for a wrong setting."""
    key = settings.api_key()
    for root in settings.roots:
        if not root.is_dir():
            raise ServeError(f"--root {root}: there is no such folder")
    settings.logs.mkdir(parents=True, exist_ok=True)
    servers = HostedServers(settings)
    config = uvicorn.Config(
        create_app(servers, key),
        host=settings.host,
        port=settings.port,
        lifespan="on",
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
    )
    print_line(f"prunebench host: listening on http://{settings.host}:{settings.port}", err)
    with contextlib.suppress(KeyboardInterrupt):
        _Server(config, servers).run()
