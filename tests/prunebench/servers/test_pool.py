"""What a host starts and what it refuses: real processes on loopback, the engine whose times are known."""

import asyncio
import json
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
from fastapi import HTTPException
from hypothesis import given
from hypothesis import strategies as st

from base.network import free_port
from prunebench.servers.commands import ServerCommand
from prunebench.servers.pool import HostedServer, HostedServers, HostSettings
from prunebench.servers.process import start_server
from server.engines.registry import engines
from tests.prunebench.conftest import TINYGLU

TUNABLES = {entry.name: entry.tunable_over_http() for entry in engines()}
SLOW_START = {"start_s": "600"}


def wanted(checkpoint: Path = TINYGLU, **other: object) -> HostedServer:
    return HostedServer.model_validate({"checkpoint": checkpoint, "model": "m", "engine": "synthetic", **other})


def servers(tmp_path: Path, **settings: object) -> HostedServers:
    given = {"roots": [TINYGLU.parent], "logs": tmp_path, "first_port": free_port(), "most_servers": 3, **settings}
    return HostedServers(HostSettings(**given))


def refusal(hosted: HostedServers, asked: HostedServer) -> tuple[int, str]:
    with pytest.raises(HTTPException) as refused:
        asyncio.run(hosted.put("a", asked))
    assert hosted.all() == [], "nothing was started"
    return refused.value.status_code, refused.value.detail


@pytest.mark.parametrize(
    "word", ["path", "model", "tokenizer", "class", "cls", "config", "port", "addr", "dir", "plugin", "trust"]
)
def test_no_tunable_names_a_path_a_model_a_class_a_configuration_or_an_address(word):
    names = {name for names in TUNABLES.values() for name in names} - {"max_model_len"}
    assert [name for name in names if word in name] == []


@given(st.dictionaries(st.text(max_size=30), st.text(max_size=30), min_size=1))
def test_a_key_that_is_no_tunable_is_refused_whatever_it_is(options):
    if not set(options) <= TUNABLES["synthetic"]:
        status, _ = refusal(servers(Path("unused")), wanted(options=options))
        assert status == 403


def test_an_option_of_the_hosts_own_cannot_be_changed_by_a_request(tmp_path):
    hosted = servers(tmp_path, options={"token_ms": "3"})
    status, why = refusal(hosted, wanted(options={"token_ms": "1"}))
    assert (status, "token_ms" in why) == (403, True)


def test_a_draft_is_checked_below_the_roots_as_the_checkpoint_is(tmp_path):
    hosted = servers(tmp_path)
    assert refusal(hosted, wanted(draft={"checkpoint": "/etc", "tokens": 2}))[0] == 403
    assert refusal(hosted, wanted(draft={"checkpoint": TINYGLU, "tokens": 2})) == (
        422,
        "the synthetic engine takes no draft",
    )


def test_links_out_of_the_roots_are_refused_wherever_they_stand(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "inside").mkdir(parents=True)
    outside.mkdir()
    (outside / "config.json").write_text("{}")
    (root / "folder").symlink_to(outside)
    (root / "inside" / "config.json").symlink_to(outside / "config.json")
    (root / "fine").mkdir()
    (root / "blobs").mkdir()
    (root / "blobs" / "1").write_text("{}")
    (root / "fine" / "config.json").symlink_to(root / "blobs" / "1")
    hosted = servers(tmp_path, roots=[root])
    assert refusal(hosted, wanted(root / "folder"))[0] == 403
    assert refusal(hosted, wanted(root / "inside"))[0] == 403
    assert hosted._command(wanted(root / "fine")).checkpoint == (root / "fine").resolve()


@pytest.mark.parametrize(
    "field",
    [
        {"start_timeout_s": 1e308},
        {"start_timeout_s": float("inf")},
        {"start_timeout_s": 0},
        {"start_timeout_s": float("nan")},
        {"modelled_watts_per_core": float("inf")},
        {"model": ""},
        {"model": "a\nb"},
        {"draft": {"checkpoint": "/etc", "tokens": 10**6}},
    ],
)
def test_values_that_cannot_be_meant_are_refused(field):
    with pytest.raises(ValueError, match=next(iter(field))):
        wanted(**field)


@pytest.mark.slow
def test_a_start_that_hangs_blocks_nothing_and_delete_cancels_it(tmp_path):
    others = psutil.Process().children()  # what other tests' commands are forked from

    async def scenario() -> None:
        hosted = servers(tmp_path)
        hanging = [asyncio.create_task(hosted.put("slow", wanted(options=SLOW_START))) for _ in range(45)]
        found = await asyncio.wait_for(hosted.put("quick", wanted()), 60)
        assert found["alive"]
        threads = threading.active_count()
        assert [(one["name"], one["load_s"] is None) for one in hosted.all()] == [("slow", True), ("quick", False)]
        await asyncio.wait_for(hosted.delete("slow"), 20)
        results = await asyncio.gather(*hanging, return_exceptions=True)
        assert {(type(each), each.status_code) for each in results} == {(HTTPException, 409)}
        assert threads < 20, "a waiting start holds no thread"
        await hosted.close()
        with pytest.raises(HTTPException) as refused:
            await hosted.put("late", wanted())
        assert refused.value.status_code == 503

    asyncio.run(scenario())
    assert set(psutil.Process().children()) <= set(others)


@pytest.mark.slow
def test_a_stopped_host_answers_those_who_wait_and_leaves_no_child(tmp_path, started):
    port = free_port()
    host = started("host", "--root", TINYGLU.parent, "--port", port, "--first-port", free_port(), "--most-servers", 5)
    url = f"http://127.0.0.1:{port}"
    _until(lambda: _answers(f"{url}/health"))
    body = json.loads(wanted(options=SLOW_START).model_dump_json())
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(httpx.put, f"{url}/servers/s{n}", json=body, timeout=60) for n in range(4)]
        _until(lambda: len(httpx.get(f"{url}/servers").json()["servers"]) == 4)
        children = psutil.Process(host.pid).children(recursive=True)
        assert len(children) >= 4
        host.send_signal(signal.SIGTERM)
        assert {each.result().status_code for each in waiting} == {503}
        host.communicate(timeout=30)
    assert not psutil.wait_procs(children, timeout=0.5)[1]


@pytest.mark.slow
def test_a_server_outlives_the_thread_that_started_it(tmp_path):
    command = ServerCommand(TINYGLU, "m", "synthetic", {}, None)
    with ThreadPoolExecutor(1) as pool:
        server = pool.submit(start_server, command, tmp_path / "log", start_timeout_s=60, request_timeout_s=10).result()
    try:
        with pytest.raises(Exception, match="timed out"):
            server.process.wait(3)
        assert server.problem() is None
    finally:
        server.stop()


@pytest.mark.slow
@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.2", "::1", "::"])
def test_a_server_on_any_address_of_this_machine_becomes_healthy(tmp_path, address):
    key = tmp_path / "key"
    key.write_text("k")
    command = ServerCommand(TINYGLU, "m", "synthetic", {}, None, host=address, api_key_file=key)
    server = start_server(command, tmp_path / "log", start_timeout_s=60, request_timeout_s=10)
    server.stop()


@pytest.mark.slow
def test_a_server_that_cannot_start_is_refused_with_its_last_words(tmp_path):
    hosted = servers(tmp_path)
    status, why = refusal(hosted, wanted(options={"memory_bytes": "1"}))
    assert (status, "memory" in why) == (502, True)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


def _until(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
