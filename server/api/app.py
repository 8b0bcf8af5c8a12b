"""The application: the endpoints behind an API key, and every error in OpenAI's shape.

POST /v1/completions   /v1/chat/completions   /tokenize   /detokenize
GET  /v1/models   /health   /metrics   /energy   /energy/trace?since_ns=
"""

from __future__ import annotations

import hmac
from importlib import metadata

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from server.api.endpoints import Stage, make_router
from server.api.openapi import describe
from server.engines.base import BadRequestError, EngineDeadError
from server.errors import ApiError, as_api_error
from server.monitoring.access import Access
from server.settings import ServeSettings

_HEADERS = {401: {"www-authenticate": "Bearer"}, 408: {"connection": "close"}, 429: {"retry-after": "1"}}


def create_app(stage: Stage, settings: ServeSettings, *, api_key: str | None = None) -> ASGIApp:
    """The application. Until `stage.model` is set every path answers 503; with a key, all but /health require it."""
    app = FastAPI(
        title="prunebench",
        description="An OpenAI-compatible server that meters the energy of what it serves.",
        version=metadata.version("prunebench"),
        docs_url=None,  # its pages load scripts from other hosts; /openapi.json stays
        redoc_url=None,
        middleware=[Middleware(_Gate, stage=stage, api_key=api_key)],
        exception_handlers={
            ApiError: _on_error,
            RequestValidationError: _on_parameter_error,
            BadRequestError: _on_error,
            EngineDeadError: _on_error,
            HTTPException: _on_http_error,
            ClientDisconnect: _on_http_error,
            Exception: _on_error,
        },
    )
    app.include_router(make_router(stage, settings))
    app.openapi_schema = describe(app, has_key=api_key is not None)
    return Access(app, log=settings.access_log)


class _Gate:
    """Refuses requests without the key, and all of them before there is a model."""

    def __init__(self, app: ASGIApp, stage: Stage, api_key: str | None) -> None:
        self._app = app
        self._stage = stage
        self._authorization = None if api_key is None else f"Bearer {api_key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http":
            if scope["path"] != "/health" and not self._has_key(scope):
                message = 'this server requires its API key as "Authorization: Bearer ..."'
                app = _response(ApiError(401, message, code="invalid_api_key"))
            elif self._stage.model is None:
                app = _response(ApiError(503, "the model is being loaded", code="loading"))
        await app(scope, receive, send)

    def _has_key(self, scope: Scope) -> bool:
        if self._authorization is None:
            return True
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        return hmac.compare_digest(given, self._authorization)  # in constant time


def _response(error: ApiError) -> Response:
    return Response(error.body(), error.status, _HEADERS.get(error.status), media_type="application/json")


async def _on_error(_: Request, error: Exception) -> Response:
    return _response(as_api_error(error))


async def _on_parameter_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
    first = error.errors()[0]
    name = str(first["loc"][-1])
    return _response(ApiError(400, f"{name}: {first['msg'].removeprefix('Value error, ')}", param=name))


async def _on_http_error(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return _response(ApiError(error.status_code, f"{request.method} {request.url.path}: {error.detail}"))
    return Response(status_code=499)  # the client disconnected before its body was complete
