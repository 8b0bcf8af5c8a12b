"""The servers of a run on another host, or in another container: `prunebench run --serve-on URL` asks a `prunebench host`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from loadgen.control import control_client
from loadgen.endpoint import Endpoint, LoadError, server_address
from prunebench.servers.commands import ServerCommand
from prunebench.servers.process import ServerStartError, is_healthy

_ANSWER_S = 30.0


@dataclass
class RemoteServer:
    """A server that a host started for us. It stays up when the run ends: the host owns it."""

    endpoint: Endpoint
    load_s: float
    _host: RemoteHost
    _name: str

    def alive(self) -> bool:
        """Whether its process still runs, as far as the host can be asked."""
        try:
            return any(one["name"] == self._name and one["alive"] for one in self._host.servers())
        except httpx.HTTPError:
            return False

    def problem(self) -> str | None:
        """What is wrong with it; None if it reports that it is healthy."""
        if is_healthy(self.endpoint.url):
            return None
        how = "is not healthy" if self.alive() else "has ended"
        return f"the server {self._name} on {self._host.url} {how}; its log is there"

    def engine_process_ids(self) -> list[int]:
        """None: they are on another machine."""
        return []

    def stop(self) -> None:
        """End it, if the host still answers."""
        self._host.delete(self._name)


@dataclass(frozen=True)
class RemoteHost:
    """A `prunebench host` at `url`, which must see the checkpoints under the same paths as the runner."""

    url: str
    key: str | None

    def check(self) -> None:
        """Raises LoadError if it does not answer, or refuses the key."""
        if not server_address(self.url, "--serve-on").startswith("http"):
            raise LoadError(f"--serve-on {self.url}: must be like http://server:7000")
        try:
            self.servers()
        except httpx.HTTPStatusError as error:
            if error.response.status_code == httpx.codes.UNAUTHORIZED:
                raise LoadError(f"--serve-on {self.url} requires an API key: --serve-key-file") from None
            raise LoadError(f"--serve-on {self.url} answered {error.response.status_code}") from None
        except httpx.HTTPError as error:
            raise LoadError(f"--serve-on {self.url} does not answer: {error or type(error).__name__}") from None

    def servers(self) -> list[dict[str, Any]]:
        """What runs there. Raises httpx.HTTPError."""
        with self._client(_ANSWER_S) as client:
            answer = client.get("/servers")
            answer.raise_for_status()
            found: list[dict[str, Any]] = answer.json()["servers"]
        return found

    def start(
        self, name: str, command: ServerCommand, *, start_timeout_s: float, request_timeout_s: float
    ) -> RemoteServer:
        """A healthy server for `command`. Raises ServerStartError with the host's reason."""
        options = dict(command.options)
        wanted = {
            "checkpoint": str(Path(command.checkpoint).resolve()),
            "model": command.model,
            "engine": command.engine,
            "draft": _draft(options),
            "options": options,
            "modelled_watts_per_core": command.modelled_watts_per_core,
            "start_timeout_s": start_timeout_s,
        }
        try:
            with self._client(start_timeout_s + _ANSWER_S) as client:
                answer = client.put(f"/servers/{name}", json=wanted)
        except httpx.HTTPError as error:
            raise ServerStartError(f"the host {self.url} did not answer: {error or type(error).__name__}") from None
        if answer.is_error:
            raise ServerStartError(f"the host {self.url}: {_reason(answer)}")
        found = answer.json()
        address = httpx.URL(server_address(self.url)).copy_with(port=found["port"])
        endpoint = Endpoint(str(address).rstrip("/"), command.model, api_key=self.key, timeout_s=request_timeout_s)
        return RemoteServer(endpoint, found["load_s"], self, name)

    def delete(self, name: str) -> None:
        """End a server there; a host that does not answer is ignored."""
        try:
            with self._client(_ANSWER_S) as client:
                client.delete(f"/servers/{name}")
        except httpx.HTTPError:
            pass

    def _client(self, timeout_s: float) -> httpx.Client:
        return control_client(server_address(self.url), api_key=self.key, deadline_s=timeout_s)


def _draft(options: dict[str, str]) -> dict[str, Any] | None:
    """Take vLLM's `speculative_config` out of the options where it names a draft checkpoint: a host checks that as a path."""
    try:
        config = json.loads(options["speculative_config"])
        draft = {"checkpoint": str(Path(config["model"]).resolve()), "tokens": config["num_speculative_tokens"]}
    except (ValueError, KeyError, TypeError):
        return None
    if set(config) - {"model", "num_speculative_tokens"}:
        return None
    del options["speculative_config"]
    return draft


def _reason(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"answered {answer.status_code}"
