"""Every request gets an id, and with `--access-log` a line of JSON on stderr once it is over.

The id is the client's `x-request-id`, if it sent a usable one, and is sent back. A line never holds what was asked or
written, headers, or a query string.
"""

from __future__ import annotations

import json
import re
import sys
import time
import uuid
from datetime import UTC, datetime
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_USABLE_ID = re.compile(rb"[!-~]{1,128}")
_LONGEST_PATH = 200  # characters logged


class Access:
    """The outermost middleware, so that it sees every status, also that of a failure."""

    def __init__(self, app: ASGIApp, *, log: bool) -> None:
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the id to the answer; endpoints leave token counts in `scope["state"]["usage"]`."""
        begun = time.perf_counter()
        request_id = _request_id(scope)
        usage: dict[str, int] = {}
        scope.setdefault("state", {})["usage"] = usage
        status: int | None = None
        complete = False

        async def sending(message: Message) -> None:
            nonlocal status, complete
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id)]
            else:
                complete = not message.get("more_body", False)
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            if self._log:
                _write(
                    {
                        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                        "request_id": request_id.decode(),
                        "method": scope["method"],
                        "path": scope["path"][:_LONGEST_PATH],
                        "status": status,
                        "complete": complete,  # False: the client left, or was too slow, before the end
                        "ms": round((time.perf_counter() - begun) * 1e3, 3),
                        "prompt_tokens": usage.get("prompt_tokens"),
                        "completion_tokens": usage.get("completion_tokens"),
                    }
                )


def _request_id(scope: Scope) -> bytes:
    given: bytes = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    return given if _USABLE_ID.fullmatch(given) else uuid.uuid4().hex.encode()


def _write(line: dict[str, Any]) -> None:
    sys.stderr.write(json.dumps(line) + "\n")
    sys.stderr.flush()
