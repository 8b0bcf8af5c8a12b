"""A server that is already there, at an address of the user's: asked, never started and never ended."""

from __future__ import annotations

from dataclasses import dataclass, replace

from loadgen.endpoint import Endpoint, LoadError, check_endpoint, only_model, server_address


@dataclass
class JoinedServer:
    """Somebody else's server."""

    endpoint: Endpoint
    load_s: float | None = None

    def alive(self) -> bool:
        """Always: whether it answers is `problem`'s to find."""
        return True

    def problem(self) -> str | None:
        """What is wrong with it; None if it still lists its model."""
        try:
            check_endpoint(self.endpoint)
        except LoadError as error:
            return f"{error}".removeprefix("--model ")
        return None

    def engine_process_ids(self) -> list[int]:
        """None that are known."""
        return []

    def stop(self) -> None:
        """It is not ours to end."""


def join_server(
    url: str,
    model: str | None,
    api_key: str | None,
    *,
    request_timeout_s: float,
    headers: tuple[tuple[str, str], ...] = (),
) -> JoinedServer:
    """The server at `url`. Raises LoadError if it does not answer, or does not serve `model`, or several and none is named."""
    endpoint = Endpoint(server_address(url), model or "", api_key=api_key, timeout_s=request_timeout_s, headers=headers)
    if model is None:
        endpoint = replace(endpoint, model=only_model(endpoint))
    check_endpoint(endpoint)
    return JoinedServer(endpoint)
