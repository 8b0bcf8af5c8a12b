"""Errors as OpenAI clients expect them: `{"error": {"message", "type", "param", "code"}}`.

ApiError            a status and a message for the client
BadRequestError     an engine refused the request -> 400      (server.engines.base)
EngineDeadError     the engine has died           -> 503      (server.engines.base)
"""

from __future__ import annotations

import json

from server.engines.base import BadRequestError, EngineDeadError

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "invalid_request_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
    503: "service_unavailable_error",
}


_LONGEST_MESSAGE = 2000  # characters; messages quote what the client sent


class ApiError(Exception):
    """Ends a request. `param` names the field to fix, `code` is for programs."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code

    def body(self) -> bytes:
        """The JSON of the answer, and of the `data:` event when a stream has already begun."""
        kind = _TYPES.get(self.status, "internal_error" if self.status >= 500 else "invalid_request_error")
        param = self.param if self.param is None else _clipped(self.param)
        error = {"message": _clipped(self.message), "type": kind, "param": param, "code": self.code or self.status}
        return json.dumps({"error": error}).encode()


def _clipped(text: str) -> str:
    left_out = len(text) - _LONGEST_MESSAGE
    return text if left_out <= 0 else f"{text[:_LONGEST_MESSAGE]}… ({left_out} characters more)"


def as_api_error(error: Exception) -> ApiError:
    """Any exception of a request, as the error that its client gets."""
    match error:
        case ApiError():
            return error
        case BadRequestError():
            return ApiError(400, str(error))
        case EngineDeadError():
            return ApiError(503, f"the engine has died: {error}", code="engine_dead")
        case _:
            return ApiError(500, "the server failed on this request; its log has the reason")
