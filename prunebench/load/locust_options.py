"""The options of `prunebench load` that belong to --driver locust."""

from __future__ import annotations

import socket
from typing import Literal

from loadgen.endpoint import LoadError
from loadgen.locust.processes import LocustSettings

Driver = Literal["native", "locust"]


def locust_settings(  # noqa: PLR0917 - one parameter an option
    driver: Driver,
    workers: int | None,
    remote_workers: str | None,
    master_port: int | None,
    web_port: int | None,
    web_host: str | None,
) -> LocustSettings | None:
    """The settings; None for the native driver. Raises LoadError for an option that does not fit the driver."""
    given = {
        "--workers": workers,
        "--remote-workers": remote_workers,
        "--master-port": master_port,
        "--web-port": web_port,
        "--web-host": web_host,
    }
    if driver == "native":
        for flag, value in given.items():
            if value is not None:
                raise LoadError(f"{flag} {value}: is for --driver locust")
        return None
    remote = 0 if remote_workers is None else _count(remote_workers)
    if workers is not None and remote > workers:
        raise LoadError(f"--remote-workers {remote_workers}: more than --workers {workers}")
    return LocustSettings(workers or remote or 1, remote, master_port, web_port, web_host or "127.0.0.1")


def _count(remote_workers: str) -> int:
    """A number, or the number of addresses of a host name."""
    if remote_workers.isdecimal():
        if int(remote_workers) == 0:
            raise LoadError("--remote-workers 0: leave it out")
        return int(remote_workers)
    try:
        return len({found[4][0] for found in socket.getaddrinfo(remote_workers, None, socket.AF_INET)})
    except OSError as error:
        raise LoadError(
            f"--remote-workers {remote_workers}: neither a number nor a host's name: {error.strerror}"
        ) from None
