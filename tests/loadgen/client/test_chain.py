"""How many calls of ours lie between a client's task and the socket, counted in a real call."""

from __future__ import annotations

import socket
import traceback
from pathlib import Path

import pytest

from loadgen.client.connection import Connection
from loadgen.client.driver import Driver
from loadgen.client.wire import WireClient
from loadgen.endpoint import Endpoint
from loadgen.link.frames import Outbox
from loadgen.link.messages import Job
from loadgen.prompts.synthetic import FilePrompts
from tests.loadgen.made import workload
from tests.loadgen.scripted import ScriptedServer, stream

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("kind", "begins"), [("single", "user"), ("concurrency", "user"), ("batch", "one"), ("constant", "one")]
)
async def test_the_socket_is_five_calls_below_a_user(kind, begins, monkeypatch):
    chains, write = [], Connection._write

    def noted(self, data):
        frames = [
            (Path(f.filename), f.name) for f in traceback.extract_stack() if Path(f.filename).is_relative_to(ROOT)
        ]
        chains.append([f"{file.stem}.{name}" for file, name in frames if file.parts[len(ROOT.parts)] == "loadgen"])
        return write(self, data)

    monkeypatch.setattr(Connection, "_write", noted)
    link, other = socket.socketpair()
    with link, other, ScriptedServer(lambda *_: stream(2)) as server:
        link.setblocking(False)
        job = Job(Endpoint(server.url, "m"), workload(kind), FilePrompts(["hello"]), 0, None, 0, 1)
        async with WireClient(job.endpoint) as client:
            driver = Driver(job, client, Outbox(link))
            requests = driver.requests_ahead()
            requests[0].fill()
            await driver.load(requests)
    chain = ["driver.user", "driver.one", "wire.send", "connection.send"]  # and Connection._write, which sends
    assert chains[0] == chain[chain.index(f"driver.{begins}") :]
    assert all(len(found) < len(chain) + 1 for found in chains)
