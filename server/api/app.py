"""The HTTP side: which path does what, who may ask, and every error in OpenAI's shape.

POST /v1/completions   /v1/chat/completions   /tokenize   /detokenize
GET  /v1/models   /health   /metrics   /energy   /energy/trace?since_ns=
"""

from __future__ import annotations

import asyncio
import hmac
import json
import re
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from server.api.access import Access
from server.api.chat import answer_chat
from server.api.completions import answer_completion
from server.api.errors import ApiError, as_api_error
from server.api.json_writer import JsonResponse, body_slices, json_parts
from server.api.metrics import Metrics
from server.api.openapi import components, operation
from server.api.protocol import ChatRequest, CompletionRequest, DetokenizeRequest, R, TokenizeRequest, parse
from server.engines.base import BadRequestError, EngineDeadError
from server.model import Model
from server.off_loop import off_loop
from server.settings import ServeSettings

_NANOSECONDS = re.compile(r"[0-9]{1,19}")
_HEADERS = {401: {"www-authenticate": "Bearer"}, 408: {"connection": "close"}, 429: {"retry-after": "1"}}


@dataclass
class Stage:
    """Where the server is in its life: no model yet, serving, or (the engine says so itself) dead."""

    model: Model | None = None


def create_app(stage: Stage, settings: ServeSettings, *, api_key: str | None = None) -> ASGIApp:
    """The application. Until `stage.model` is set every path answers 503; with a key, all but /health want it."""
    app = FastAPI(
        title="prunebench",
        description="An OpenAI-compatible server that meters the energy of what it serves.",
        version=metadata.version("prunebench"),
        docs_url=None,  # its pages load scripts from elsewhere; /openapi.json stays
        redoc_url=None,
        middleware=[Middleware(_Gate, stage=stage, api_key=api_key)],
        exception_handlers={
            ApiError: _told,
            BadRequestError: _told,
            EngineDeadError: _told,
            HTTPException: _told_http,
            ClientDisconnect: _told_http,
            Exception: _told,
        },
    )
    app.router.route_class = _Route
    endpoints = _Endpoints(stage, settings)
    for method, path, endpoint in (  # looked through in this order
        # Bodies are parsed by ourselves, for errors in OpenAI's shape; the document still says what they are.
        ("POST", "/v1/completions", endpoints.completions),
        ("POST", "/v1/chat/completions", endpoints.chat),
        ("GET", "/health", endpoints.health),
        ("GET", "/metrics", endpoints.metrics),
        ("GET", "/energy", endpoints.energy),
        ("GET", "/energy/trace", endpoints.energy_trace),
        ("GET", "/v1/models", endpoints.models),
        ("POST", "/tokenize", endpoints.tokenize),
        ("POST", "/detokenize", endpoints.detokenize),
    ):
        extra = operation(path)
        app.add_api_route(path, endpoint, methods=[method], response_class=Response, openapi_extra=extra)
    app.openapi_schema = {**app.openapi(), "components": components()}
    if api_key is not None:
        app.openapi_schema["security"] = [{"key": []}]
    return Access(app, log=settings.access_log)


class _Gate:
    """Stops requests that need no closer look: without the key, or before there is a model."""

    def __init__(self, app: ASGIApp, stage: Stage, api_key: str | None) -> None:
        self._app = app
        self._stage = stage
        self._authorization = None if api_key is None else f"Bearer {api_key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http":
            if scope["path"] != "/health" and not self._has_key(scope):
                message = 'this server wants its API key as "Authorization: Bearer ..."'
                app = _response(ApiError(401, message, code="invalid_api_key"))
            elif self._stage.model is None:
                app = _response(ApiError(503, "the model is being loaded", code="loading"))
        await app(scope, receive, send)

    def _has_key(self, scope: Scope) -> bool:
        if self._authorization is None:
            return True
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        return hmac.compare_digest(given, self._authorization)  # takes as long wherever the first difference is


class _Route(APIRoute):
    """An endpoint that gets the request as it is: FastAPI's look for parameters costs a tenth of all a completion does."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        return self.endpoint


class _Endpoints:
    def __init__(self, stage: Stage, settings: ServeSettings) -> None:
        self._stage = stage
        self._max_body_bytes = settings.max_body_bytes
        self._patience_s = settings.receive_timeout_s

    @property
    def _model(self) -> Model:
        if self._stage.model is None:  # the gate lets nothing through before there is one
            raise ApiError(503, "the model is being loaded", code="loading")
        return self._stage.model

    async def completions(self, request: Request) -> Response:
        return await answer_completion(self._model, await self._asked(CompletionRequest, request))

    async def chat(self, request: Request) -> Response:
        body = await self._body(request)
        asked = await off_loop(lambda: parse(ChatRequest, body), len(body))
        return await answer_chat(self._model, asked, len(body))

    async def tokenize(self, request: Request) -> Response:
        asked = await self._asked(TokenizeRequest, request)
        self._model.check_name(asked.model)
        self._model.check_texts([asked.prompt], "prompt")
        (token_ids,) = await self._model.encode([asked.prompt], add_special_tokens=asked.add_special_tokens)
        longest = self._model.engine.info.max_model_len
        content = {"count": len(token_ids), "max_model_len": longest, "tokens": token_ids}
        return JsonResponse(await off_loop(lambda: body_slices(json_parts(content)), len(token_ids)))

    async def detokenize(self, request: Request) -> Response:
        asked = await self._asked(DetokenizeRequest, request)
        self._model.check_name(asked.model)
        self._model.check_length(asked.tokens, "tokens")

        def content() -> list[bytes]:
            self._model.check_tokens(asked.tokens, "tokens")
            prompt = self._model.tokenizer.decode(asked.tokens, skip_special_tokens=False)
            return body_slices(json_parts({"prompt": prompt}))

        return JsonResponse(await off_loop(content, len(asked.tokens)))

    async def models(self, _: Request) -> Response:
        model = self._model
        engine = asdict(model.engine.info)
        card = {
            "id": model.name,
            "object": "model",
            "created": model.created,
            "owned_by": "prunebench",
            "max_model_len": engine["max_model_len"],
            "engine": engine,
        }
        return _json({"object": "list", "data": [card]})

    async def health(self, _: Request) -> Response:
        await self._model.engine.check_health()
        return _json({"status": "ok"})

    async def metrics(self, _: Request) -> Response:
        return Response(self._model.metrics.text(), headers={"content-type": Metrics.content_type})

    async def energy(self, _: Request) -> Response:
        return Response(self._model.sampler.counters().model_dump_json(), media_type="application/json")

    async def energy_trace(self, request: Request) -> Response:
        given = request.query_params.get("since_ns", "0")
        if not _NANOSECONDS.fullmatch(given):
            raise ApiError(400, "since_ns: must be a whole number of nanoseconds", param="since_ns")
        since_ns = int(given)
        return Response(self._model.sampler.trace(since_ns).model_dump_json(), media_type="application/json")

    async def _asked(self, kind: type[R], request: Request) -> R:
        body = await self._body(request)
        return await off_loop(lambda: parse(kind, body), len(body))

    async def _body(self, request: Request) -> bytes:
        """Raises ApiError 413 as soon as it is too long, whatever its headers say, and 408 when it takes too long."""
        parts, length = [], 0
        try:
            async with asyncio.timeout(self._patience_s):
                async for part in request.stream():
                    parts.append(part)
                    length += len(part)
                    if length > self._max_body_bytes:
                        raise ApiError(
                            413, f"the body is longer than the {self._max_body_bytes} bytes this server takes"
                        )
        except TimeoutError:
            raise ApiError(408, f"the body did not come within {self._patience_s:g} s") from None
        return b"".join(parts)


def _json(content: dict[str, Any]) -> Response:
    return Response(json.dumps(content), media_type="application/json")


def _response(error: ApiError) -> Response:
    return Response(error.body(), error.status, _HEADERS.get(error.status), media_type="application/json")


async def _told(_: Request, error: Exception) -> Response:
    return _response(as_api_error(error))


async def _told_http(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return _response(ApiError(error.status_code, f"{request.method} {request.url.path}: {error.detail}"))
    return Response(status_code=499)  # the client went away before its body was whole; nobody reads this
