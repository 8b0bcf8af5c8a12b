"""The server under load: its address, what it serves, and the check that it answers."""

from __future__ import annotations

import re
import ssl
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from base.errors import UserError
from loadgen import REQUEST_TIMEOUT_S, UNREADABLE

if TYPE_CHECKING:  # the processes that send requests start sooner without httpx
    import httpx

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, 5.6.2
_OUR_HEADERS = {
    "authorization": "give --api-key-file, which no list of processes shows",
    **dict.fromkeys(("host", "content-type", "content-length", "transfer-encoding"), "is set by the load itself"),
}
_NO_LIST = {404, 405, 500, 501}  # of `/v1/models`; `transformers serve` answers 500 where there is no hub's cache
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class LoadError(UserError):
    """The load cannot be offered: one line that names the flag, URL or file to fix."""


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible server and the model to ask it for.

    `url` has no path: http://127.0.0.1:8000; for a Unix socket unix:/run/server.sock or http+unix://%2Frun%2Fserver.sock.
    """

    url: str
    model: str
    api_key: str | None = None
    headers: tuple[tuple[str, str], ...] = ()  # the user's, beside the key's
    timeout_s: float = REQUEST_TIMEOUT_S  # of one request, from sending to its end
    idle_timeout_s: float | None = None  # between two reads of an answer, after its first token; None: no such limit

    @property
    def is_local(self) -> bool:
        """Whether the server shares this machine, and so its clock."""
        return self.socket_path is not None or self.host in _LOOPBACK

    @property
    def socket_path(self) -> str | None:
        """Of a Unix socket."""
        scheme, _, rest = self.url.partition(":")
        if scheme == "unix":
            return rest.removeprefix("//")
        return unquote(urlsplit(self.url).netloc) if scheme == "http+unix" else None

    @property
    def host(self) -> str:
        """To connect to, and to be named in the server's certificate."""
        return "localhost" if self.socket_path is not None else urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """As the URL says, else that of its scheme."""
        parts = urlsplit(self.url)
        return parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def host_header(self) -> str:
        """What requests name as the host; a user name in the URL is not part of it."""
        return "localhost" if self.socket_path is not None else urlsplit(self.url).netloc.rpartition("@")[2]

    @property
    def own_headers(self) -> str:
        """Lines of a request's head: the key's and the user's."""
        key = (("Authorization", f"Bearer {self.api_key}"),) if self.api_key else ()
        return "".join(f"{name}: {value}\r\n" for name, value in (*key, *self.headers))

    @property
    def proxy(self) -> str | None:
        """The environment's proxy for this server, which loads never use."""
        scheme = urlsplit(self.url).scheme
        found = urllib.request.getproxies()
        proxy = found.get(scheme) or found.get("all")
        if proxy is None or self.socket_path is not None or urllib.request.proxy_bypass(self.host, found):
            return None
        return proxy

    def client(self, deadline_s: float | None = None) -> httpx.Client:
        """A client for everything that is not the measured stream; without a deadline it has that of `control`."""
        from loadgen.control import DEADLINE_S, control_client

        return control_client(
            self.url,
            api_key=self.api_key,
            headers=self.headers,
            deadline_s=deadline_s or DEADLINE_S,
            socket_path=self.socket_path,
            tls=self.tls(),
        )

    def tls(self) -> ssl.SSLContext | None:
        """For https: certificates are checked against the system's store, or SSL_CERT_FILE where that is set."""
        return ssl.create_default_context() if urlsplit(self.url).scheme == "https" else None


@dataclass(frozen=True)
class ServedModel:
    """What `/v1/models` says; engine facts are offered by prunebench's server only."""

    max_model_len: int | None
    engine: str | None
    engine_version: str | None
    dtype: str | None
    options: dict[str, str] | None = None  # as the engine resolved them


def check_endpoint(endpoint: Endpoint) -> ServedModel:
    """Look the model up before any load. Raises LoadError if the server does not offer it; one that lists no models may have it."""
    try:
        cards = _model_cards(endpoint)
    except _NoModelListError:
        return _served({})
    if cards and endpoint.model not in cards:
        raise LoadError(f"--model {endpoint.model}: {endpoint.url} serves {', '.join(cards)}")
    return _served(cards.get(endpoint.model, {}))


def only_model(endpoint: Endpoint) -> str:
    """The name of the model, of a server that has one. Raises LoadError that lists them otherwise."""
    names = list(_model_cards(endpoint))
    if len(names) == 1:
        return names[0]
    listed = f"serves {', '.join(names)}" if names else "lists none"
    raise LoadError(f"--model: name one; {endpoint.url} {listed}")


class _NoModelListError(LoadError):
    """`/v1/models` is nothing that this server has, or that it can answer."""


def _model_cards(endpoint: Endpoint) -> dict[str, dict[str, Any]]:
    """What `/v1/models` lists, by name. Raises LoadError for a server that does not answer so."""
    import httpx

    _check_url(endpoint)
    if endpoint.api_key is not None and not (endpoint.api_key.isascii() and endpoint.api_key.isprintable()):
        raise LoadError("--api-key-file: the key must be one line of ASCII, to travel in a header")
    try:
        with endpoint.client() as client:
            answer = client.get("/v1/models")
            answer.raise_for_status()
            return {str(card["id"]): card for card in answer.json()["data"]}
    except httpx.HTTPStatusError as error:
        if error.response.status_code == httpx.codes.UNAUTHORIZED:
            raise LoadError(f"{endpoint.url} requires an API key: --api-key-file") from None
        answer = error.response
        more = f" and redirects to {answer.headers.get('location')}; give that address" if answer.is_redirect else ""
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            more = ": the server may still be loading its model; wait until it is ready"
        said = f"{endpoint.url}/v1/models answered {answer.status_code}"
        if answer.status_code in _NO_LIST:
            raise _NoModelListError(f"{said}: --model names the model of a server that lists none") from None
        raise LoadError(f"{said}{more}") from None
    except httpx.HTTPError as error:
        raise LoadError(f"{endpoint.url} does not answer: {error or type(error).__name__}") from None
    except UNREADABLE:
        raise LoadError(f"{endpoint.url}/v1/models is not an OpenAI list of models") from None


def server_address(text: str, what: str = "URL") -> str:
    """An address as a user types it, without the `/v1` that OpenAI's clients require.

    http://host:8000, http://[::1]:8000/v1/, https://host, unix:/run/server.sock, http+unix://%2Frun%2Fserver.sock
    Raises LoadError, one line that begins with `what`, for anything else.
    """
    text = text.strip()
    scheme, _, rest = text.partition(":")
    if scheme in {"unix", "http+unix"}:
        path = rest.removeprefix("//") if scheme == "unix" else unquote(urlsplit(text).netloc)
        if not path.startswith("/"):
            raise LoadError(f"{what} {text}: must be like unix:/run/server.sock")
        return text
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise LoadError(f"{what} {text}: {error}") from None
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    if parts.username is not None or parts.password is not None:
        place = text.replace(f"{parts.netloc.rpartition('@')[0]}@", "")
        raise LoadError(f"{what} {place}: a name and password in an address would be recorded; give --api-key-file")
    if parts.scheme not in {"http", "https"} or not host or path or parts.query or parts.fragment or port == 0:
        raise LoadError(f"{what} {text}: must be like http://127.0.0.1:8000 (or unix:/run/server.sock)")
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise LoadError(f"{what} {text!r}: must be plain ASCII")
    return f"{parts.scheme}://{parts.netloc}"


def headers_of(given: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Headers as a user types them, `Name: value`. Raises LoadError for those that are none, or not the user's to set."""
    found = []
    for line in given:
        name, colon, value = line.partition(":")
        value = value.strip()
        if not colon or not _HEADER_NAME.fullmatch(name) or not (value.isascii() and value.isprintable()):
            raise LoadError(f"--header {name}: must be like 'X-Team: search', in plain ASCII")
        if name.lower() in _OUR_HEADERS:
            raise LoadError(f"--header {name}: {_OUR_HEADERS[name.lower()]}")
        found.append((name, value))
    return tuple(found)


def _check_url(endpoint: Endpoint) -> None:
    server_address(endpoint.url)
    if endpoint.proxy is not None and not endpoint.is_local:
        raise LoadError(
            f"the environment has a proxy for {endpoint.url}, which would be measured too: "
            f"add {endpoint.host} to NO_PROXY to load the server directly, or unset the proxy"
        )


def _served(card: dict[str, Any]) -> ServedModel:
    engine = card.get("engine")
    engine = engine if isinstance(engine, dict) else {}
    options, longest = engine.get("options"), card.get("max_model_len")
    return ServedModel(
        max_model_len=longest if isinstance(longest, int) else None,
        engine=engine.get("name"),
        engine_version=engine.get("version"),
        dtype=engine.get("dtype"),
        options={key: str(value) for key, value in options.items()} if isinstance(options, dict) else None,
    )
