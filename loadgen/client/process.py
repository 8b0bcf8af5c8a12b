"""The process that measures: it sends on time, stamps what comes, and hands the bytes on.

It does nothing else. Reading an answer of 128 tokens takes about a millisecond, and answers end together: done here, a
hundred of them would stamp everything else up to a tenth of a second late. So the process that started it reads, keeps
records and shows figures (`loadgen.trial`), and several such clients can share a load: client `lane` of `lanes` has the
requests whose index leaves the remainder `lane`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import socket
import sys
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import uvloop

from loadgen.client.driver import Driver
from loadgen.client.sessions import SessionsDriver
from loadgen.client.watch import watch_client
from loadgen.client.wire import WireClient
from loadgen.endpoint import LoadError
from loadgen.link.forks import NUMBER, RUNNING
from loadgen.link.frames import Inbox, Outbox
from loadgen.link.messages import Finished, Job, Ready, Said, Stop


async def _serve(link: socket.socket, job: Job) -> None:
    """Warm up, wait for the start, load, and pass every answer on."""
    outbox = Outbox(link)
    async with WireClient(job.endpoint) as client:
        driver = (SessionsDriver if job.workload.holds_sessions else Driver)(job, client, outbox)
        try:
            ready = Ready(await driver.warm_up())
        except LoadError as error:
            ready = Ready(None, str(error))
        requests = driver.requests_ahead()
        for ahead in requests:
            ahead.fill()
        _no_full_collections()
        outbox.put(ready)
        driver.start_ns = await _listen(link, driver)
        aside = _aside(*(ahead.keep_full() for ahead in requests), driver.hand_on())
        async with watch_client() as watch, aside:
            await driver.load(requests)
        watch.clock_steps = client.clock.steps
        outbox.put(Finished(watch, driver.stalled))
        await outbox.drained()


async def _listen(link: socket.socket, driver: Driver) -> int:
    """Wait for the moment to start. From then on pass what is said to the driver, and exit when the other end closes: nobody is
    left to measure for.
    """
    loop, inbox = asyncio.get_running_loop(), Inbox(link)
    start: asyncio.Future[int] = loop.create_future()

    def receive() -> None:
        messages = inbox.receive()
        if messages is None:
            os._exit(1)
        for message in messages:
            if isinstance(message, Said):
                driver.answered(message)
            elif isinstance(message, Stop):
                driver.stop()
            else:
                start.set_result(message)

    loop.add_reader(link, receive)
    return await start


@contextlib.asynccontextmanager
async def _aside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run work beside the body, and cancel it when the body ends."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _no_full_collections() -> None:
    """Turn full garbage collections off: a search of all objects would stop the stamping for tens of milliseconds.

    Young objects are still collected, so that the garbage of failed requests does not pile up. The call itself takes some time.
    """
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, 1_000_000)


def _allow_many_connections() -> None:
    """Raise the limit of open files to the most that the process may have; many systems start it at 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> None:
    """`python -m loadgen.client.process FD`: as `loadgen.link.forks` asks on the socket FD, fork clients and say how they ended."""
    _allow_many_connections()
    # The other end of either socket may be closed at any moment, after an interrupt with answers of ours unread.
    with contextlib.suppress(ConnectionError):
        if link := _forked(socket.socket(fileno=int(sys.argv[1]))):
            _run_client(link)


def _forked(control: socket.socket) -> socket.socket | None:
    """Answer until nobody is left who asks. Returns a link to serve in each fork, None in the process that forks."""
    while True:
        asked, links, _, _ = socket.recv_fds(control, NUMBER, 1)
        if not asked:
            return None
        if not links:
            control.sendall(_status(int.from_bytes(asked)).to_bytes(NUMBER, signed=True))
        elif process_id := os.fork():
            os.close(links[0])
            control.sendall(process_id.to_bytes(NUMBER, signed=True))
        else:
            control.close()
            return socket.socket(fileno=links[0])


def _status(process_id: int) -> int:
    ended, status = os.waitpid(process_id, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else RUNNING


def _run_client(link: socket.socket) -> None:
    """The first message on the socket is the job."""
    inbox = Inbox(link)
    messages: list[Any] | None = []
    while messages == []:
        messages = inbox.receive()
    if messages is None:
        return
    link.setblocking(False)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(link, messages[0]))


if __name__ == "__main__":
    main()
