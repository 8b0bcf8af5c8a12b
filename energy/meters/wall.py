"""Wall meters: the power of the whole machine, from any address that answers with JSON, or from a Prometheus query.

Which plug or PDU the machine hangs on cannot be found out, so the user says it once for all commands, in the environment:

    PRUNEBENCH_WALL_METERS="http://plug/rpc/Switch.GetStatus?id=0#apower prometheus:http://host:9090?query=node_power_watts"

The path to the watts follows the address after `#`: names and numbers of places, between points. `&lag=2` after it states the
maximum age of a figure in seconds, where it is not the default. A query must give one time series.

An answer takes longer than a pass of the sampler, so that each meter has a thread that asks twice a second, from the first `read`
on; `read` gives what is new.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from energy.meters.base import EnergyError, MeterLost, Reading
from energy.records import MeterInfo, MissingMeter

VARIABLE = "PRUNEBENCH_WALL_METERS"
_PROMETHEUS, _PROMETHEUS_PATH = "prometheus:", "data.result.0.value.1"
_LAG_S = {"wall-http": 1.0, "wall-prometheus": 15.0}  # most plugs measure once a second; a common scrape interval
_EVERY_S, _TIMEOUT_S, _SILENT_S = 0.5, 5.0, 30.0


@dataclass(frozen=True)
class WallAddress:
    """Where one wall meter answers, and where the watts stand in what it says."""

    source: str
    url: str
    path: tuple[str, ...]
    lag_s: float

    @classmethod
    def parse(cls, text: str) -> WallAddress:
        """Raises EnergyError that says how an address reads."""
        source = "wall-prometheus" if text.startswith(_PROMETHEUS) else "wall-http"
        address, _, fragment = text.removeprefix(_PROMETHEUS).partition("#")
        path, *settings = fragment.split("&")
        parts = urlsplit(address)
        lag = dict(setting.partition("=")[::2] for setting in settings).pop("lag", f"{_LAG_S[source]}")
        query = parse_qs(parts.query).get("query")
        if source == "wall-prometheus" and query:
            address = f"{address.partition('?')[0].rstrip('/')}/api/v1/query?{urlencode({'query': query[0]})}"
            path = _PROMETHEUS_PATH
        try:
            lag_s = float(lag)
        except ValueError:
            lag_s = -1.0
        wrong = any(not setting.startswith("lag=") for setting in settings) or not 0 < lag_s < math.inf
        if parts.scheme not in {"http", "https"} or not parts.hostname or not path or wrong:
            raise EnergyError(
                f"{VARIABLE}: {_without_key(text)} must read like http://HOST/STATUS#path.to.watts or "
                "prometheus:http://HOST:9090?query=QUERY, with &lag=SECONDS after # if need be"
            )
        return cls(source, address, tuple(path.split(".")), lag_s)

    @property
    def device(self) -> str:
        """The address without a user's name and password."""
        return (
            f"{_without_key(self.url)}#{'.'.join(self.path)}" if self.source == "wall-http" else _without_key(self.url)
        )


class WallMeter:
    """One wall meter. What it reports includes whatever other meters of this machine measure."""

    def __init__(self, address: WallAddress) -> None:
        """Ask once. Raises LookupError with the reason if there are no watts."""
        self._address = address
        self.info = MeterInfo(
            source=address.source,
            domain="wall",
            device=address.device,
            name="whole machine, at the wall",
            kind="power",
            lag_s=address.lag_s,
        )
        import httpx

        self._client = httpx.Client(timeout=_TIMEOUT_S)
        self._newest: Reading | None = self._ask()
        self._answered_ns = time.monotonic_ns()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def read(self) -> Reading:
        """What was answered since the last call; nothing new is a gap. Raises MeterLost after 30 s without watts."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="wall-meter", daemon=True)
            self._thread.start()
        newest, self._newest = self._newest, None
        now = time.monotonic_ns()
        if newest is None:
            return Reading(now, now)
        if newest.watts is not None:
            self._answered_ns = newest.after_ns
        elif now - self._answered_ns > _SILENT_S * 1e9:
            raise MeterLost(f"the wall meter has not answered for {_SILENT_S:.0f} s: {newest.error}")
        return newest

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(_EVERY_S):
            before = time.monotonic_ns()
            try:
                self._newest = self._ask()
            except LookupError as error:
                self._newest = Reading(before, time.monotonic_ns(), error=str(error))
        self._client.close()

    def _ask(self) -> Reading:
        import httpx  # a server without such a meter starts sooner

        before = time.monotonic_ns()
        try:
            answer = self._client.get(self._address.url)
            answer.raise_for_status()
            found = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise LookupError(
                f"{self.info.device}: {str(error).partition(chr(10))[0] or type(error).__name__}"
            ) from None
        return Reading(before, time.monotonic_ns(), watts=self._watts(found))

    def _watts(self, found: Any) -> float:
        whole = found
        for step in self._address.path:
            try:
                found = found[int(step)] if isinstance(found, list) else found[step]
            except (LookupError, TypeError, ValueError):
                raise LookupError(f"{self.info.device}: there is no {step} in {str(whole)[:200]}") from None
        try:
            watts = float(found)
        except (TypeError, ValueError):
            watts = math.nan
        if not 0 <= watts < math.inf:
            raise LookupError(f"{self.info.device}: {str(found)[:100]} is no power in watts")
        return watts


def find_wall(environment: Mapping[str, str] = os.environ) -> tuple[Sequence[WallMeter], Sequence[MissingMeter]]:
    """The wall meters that the environment names, and a reason for each that does not answer. Raises EnergyError for a wrong address."""
    addresses = [WallAddress.parse(text) for text in environment.get(VARIABLE, "").split()]
    meters, missing = [], []
    for address in addresses:
        try:
            meters.append(WallMeter(address))
        except LookupError as error:
            missing.append(MissingMeter(source=address.source, domain="wall", reason=str(error), device=address.device))
    return meters, missing


def _without_key(text: str) -> str:
    prefix = _PROMETHEUS if text.startswith(_PROMETHEUS) else ""
    address = text.removeprefix(prefix)
    host = urlsplit(address).netloc
    return prefix + address.replace(host, host.rpartition("@")[2], 1)
