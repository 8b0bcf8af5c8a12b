"""The traces of meters while they grow: this machine's, or those of a server with `/energy` and `/energy/trace`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
from pydantic import ValidationError

from energy.meters.base import EnergyError
from energy.records import EnergyCounters, EnergyTrace
from energy.sampler import start_sampler
from loadgen.endpoint import Endpoint, server_address

_ANSWER_S = 10.0  # timeout of one answer of a server's meters
ReadTrace = Callable[[int], EnergyTrace]  # from a time of the metered machine's clock on


@contextmanager
def open_meters(url: str | None) -> Iterator[ReadTrace]:
    """The meters of this machine, or those of the server at `--url`. Reading raises EnergyError if that does not answer."""
    if url is None:
        sampler = start_sampler(modelled_watts_per_core=None, process_ids=list)
        try:
            yield sampler.trace
        finally:
            sampler.stop()
        return
    with Endpoint(url=server_address(url, "--url"), model="").client(_ANSWER_S) as client:

        def read(since_ns: int) -> EnergyTrace:
            try:
                return read_trace(client, since_ns)
            except (httpx.HTTPError, ValidationError) as error:
                raise EnergyError(f"--url {url}: {error}".partition("\n")[0]) from None

        yield read


def read_counters(client: httpx.Client) -> EnergyCounters:
    """A server's counters now. Raises httpx.HTTPError, or ValidationError for an answer of another kind."""
    answer = client.get("/energy")
    answer.raise_for_status()
    return EnergyCounters.model_validate_json(answer.content)


def read_trace(client: httpx.Client, since_ns: int) -> EnergyTrace:
    """A server's readings since a time of its clock. Raises as `read_counters` does."""
    answer = client.get("/energy/trace", params={"since_ns": since_ns})
    answer.raise_for_status()
    return EnergyTrace.model_validate_json(answer.content)
