"""The control side's HTTP: models, health, energy, metrics. Every call has a deadline for the whole of its answer.

httpx limits each read, so a server that sends a byte a second would hold a caller for ever. Here a call runs in an event loop
of its own, which can end it at any point. Redirects are not followed: the key is for the server that it was given for.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import httpx

DEADLINE_S = 30.0
_MOST_BYTES = 2**28  # of one answer: an hour's power samples of eight GPUs are a tenth of it


def control_client(
    url: str,
    *,
    api_key: str | None = None,
    headers: Sequence[tuple[str, str]] = (),
    deadline_s: float = DEADLINE_S,
    socket_path: str | None = None,
    tls: ssl.SSLContext | None = None,
) -> httpx.Client:
    """A client for one server; use as a context manager. Raises as httpx does, ReadTimeout past the deadline.

    Proxies from the environment are not used.
    """
    return httpx.Client(
        base_url="http://localhost" if socket_path is not None else url,
        headers=dict(headers) | ({"Authorization": f"Bearer {api_key}"} if api_key else {}),
        timeout=deadline_s,
        trust_env=False,
        transport=_Deadline(
            deadline_s, httpx.AsyncHTTPTransport(uds=socket_path, verify=tls or url.startswith("https"))
        ),
    )


class _Deadline(httpx.BaseTransport):
    """Answers are read whole, within the deadline."""

    def __init__(self, seconds: float, inner: httpx.AsyncHTTPTransport) -> None:
        self._seconds, self._inner = seconds, inner
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        self.close()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send it and read its answer."""
        return self._runner.run(self._answer(request))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        try:
            async with asyncio.timeout(self._seconds):
                answer = await self._inner.handle_async_request(request)
                try:
                    content = await self._content(answer, request)
                finally:
                    await answer.aclose()
        except TimeoutError:
            raise httpx.ReadTimeout(f"no whole answer within {self._seconds:g} s", request=request) from None
        return httpx.Response(answer.status_code, headers=answer.headers, content=content, request=request)

    @staticmethod
    async def _content(answer: httpx.Response, request: httpx.Request) -> bytes:
        """As it came, compressed or not: the caller's response decodes it."""
        content = bytearray()
        async for part in answer.aiter_raw():
            content += part
            if len(content) > _MOST_BYTES:
                raise httpx.ReadError(f"the answer is longer than {_MOST_BYTES:,} bytes", request=request)
        return bytes(content)

    def close(self) -> None:
        """Close the connections and the loop."""
        self._runner.run(self._inner.aclose())
        self._runner.close()
