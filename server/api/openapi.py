"""What /openapi.json says beyond what FastAPI reads off the endpoints: errors in OpenAI's shape, streams and the key."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from server.api.response_models import Error

_ERRORS = {
    400: "something in the request is wrong or not supported; the message names it",
    401: "the request lacks the server's API key",
    404: "another model is served here",
    408: "the request arrived too slowly",
    413: "the body is too long",
    429: "too many sequences are in flight; try again later",
    500: "the server failed",
    503: "the model is being loaded, the server is stopping, or the engine has died",
}
_OF_ALL = (500, 503)
_OF_BODY = (400, 404, 408, 413)
_EVENT = {  # one event of the stream
    "schema": {
        "type": "object",
        "properties": {"data": {"type": "string", "description": "JSON of a chunk or of an Error; at last [DONE]"}},
        "required": ["data"],
    }
}
Responses = dict[int | str, dict[str, Any]]


def responses(*statuses: int, key: bool = True) -> Responses:
    """The errors of every endpoint and `statuses`; `key`: it requires the key, if there is one."""
    found = sorted({*_OF_ALL, *statuses, *([401] if key else [])})
    return {status: {"model": Error, "description": _ERRORS[status]} for status in found}


def responses_to_body(*statuses: int) -> Responses:
    """The errors of an endpoint that reads a body, and `statuses`."""
    return responses(*_OF_BODY, *statuses)


def responses_of_stream() -> Responses:
    """Of an endpoint that generates: server-sent events beside the whole answer, and 429."""
    return {**responses_to_body(429), 200: {"content": {"text/event-stream": _EVENT}}}


def responses_with_text() -> Responses:
    """Of an endpoint whose answer is plain text; its response class must have no media type, or the errors get that."""
    return {**responses(), 200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}


def describe(app: FastAPI, *, has_key: bool) -> dict[str, Any]:
    """The document: FastAPI's, without the 422 that it adds (a wrong request is a 400 here), and with the key."""
    document = app.openapi()
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
    components = document["components"]
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return {**document, "security": [{"key": []}]} if has_key else document
