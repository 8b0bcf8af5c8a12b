"""A run whose servers are on a `prunebench host`: real processes, the engine whose times and joules are known."""

import signal
import subprocess
import time
from pathlib import Path

import httpx
import psutil
import pytest

from base.network import free_port
from reports.runs.run_folder import RunFolder
from tests.prunebench.conftest import TINYGLU

KEY = "s3cret"


@pytest.fixture
def host(tmp_path, started):
    """A host with a key; its URL, its process and the file the key is in."""
    port, key = free_port(), tmp_path / "key"
    key.write_text(KEY + "\n")
    words = ["host", "--root", tmp_path, "--root", TINYGLU.parent, "--port", port, "--first-port", free_port()]
    process = started(*words, "--most-servers", 1, "--api-key-file", key)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        try:
            httpx.get(f"{url}/health").raise_for_status()
            return url, process, key
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError("the host did not listen")


def asking(url: str, key: str | None = KEY) -> httpx.Client:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.Client(base_url=url, headers=headers, timeout=60)


def wanted(checkpoint: Path = TINYGLU, **other: object) -> dict[str, object]:
    return {"checkpoint": str(checkpoint), "model": "m", "engine": "synthetic", **other}


@pytest.mark.slow
def test_a_run_in_three_parts_measures_on_the_hosts_servers_and_leaves_the_last_one_up(
    host, tmp_path, prunebench, experiment
):
    url, process, key = host
    file = experiment(keep_servers="false")
    prepared = prunebench("run", file, "--prune-only", "--checkpoints", tmp_path / "widths", "--output", "runs/a")
    assert prepared.returncode == 0, prepared.stderr
    run = RunFolder(tmp_path / "runs" / "a")
    assert run.info().status == "prepared"
    assert (tmp_path / "widths" / "width-512" / "pruning.json").exists()
    there = ["--checkpoints", tmp_path / "widths", "--serve-on", url]
    refused = prunebench("run", file, "--resume", "--output", "runs/a", *there)
    assert refused.returncode == 2
    assert "--serve-key-file" in refused.stderr
    done = prunebench("run", file, "--resume", "--output", "runs/a", *there, "--serve-key-file", key)
    assert done.returncode == 0, done.stderr + done.stdout
    assert len(list(run.trials())) == 8
    assert {one.engine for one in run.configurations()} == {"synthetic"}
    reported = prunebench("report", "runs", "--wait")
    assert (reported.returncode, reported.stdout.split()) == (0, ["runs/a/report.html"])
    with asking(url) as client:
        (left,) = client.get("/servers").json()["servers"]
        (target,) = client.get("/targets").json()
        assert target["targets"] == [f"127.0.0.1:{left['port']}"]
    with asking(f"http://127.0.0.1:{left['port']}") as client:
        assert client.post("/v1/completions", json={"prompt": [5], "max_tokens": 2}).status_code == 200
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert not psutil.wait_procs(children, timeout=10)[1]


@pytest.mark.slow
def test_the_host_says_why_it_does_not_serve(host, tmp_path):
    url, _, _ = host
    (tmp_path / "empty").mkdir()
    with asking(url, key=None) as stranger:
        assert stranger.get("/servers").status_code == 401
        assert stranger.put("/servers/a", json=wanted()).status_code == 401
    with asking(url) as client:
        for name, body, status, says in (
            ("a", wanted(Path("/etc")), 403, "not below"),
            ("a", wanted(tmp_path / "empty" / ".." / ".." / ".."), 403, "not below"),
            ("a", wanted(tmp_path / "empty"), 404, "config.json"),
            ("..", wanted(), 404, ""),
            ("a b", wanted(), 422, ""),
            ("a", wanted(color="red"), 422, "color"),
            ("a", wanted(options={"no_such": "1"}), 403, "no_such"),
            (
                "a",
                wanted(engine="vllm", options={"model": "/elsewhere", "trust_remote_code": "true"}),
                403,
                "trust_remote_code",
            ),
        ):
            refused = client.put(f"/servers/{name}", json=body)
            assert refused.status_code == status, refused.text
            assert says in refused.text
        first = client.put("/servers/a", json=wanted()).raise_for_status().json()
        assert client.put("/servers/a", json=wanted()).json() == first, "the same one is asked for again"
        assert client.put("/servers/b", json=wanted()).status_code == 409
        replaced = client.put("/servers/a", json=wanted(options={"token_ms": "3"})).json()
        assert replaced != first
        assert client.delete("/servers/a").status_code == client.delete("/servers/a").status_code == 204
        assert client.get("/servers").json() == {"servers": []}


def test_an_open_host_requires_a_key_and_a_root_must_exist(prunebench, tmp_path):
    for words, says in (
        (["--root", tmp_path, "--host", "0.0.0.0"], "--api-key-file"),
        (["--root", tmp_path / "none"], "--root"),
        (["--root", tmp_path, "--api-key-file", tmp_path / "none"], "--api-key-file"),
    ):
        refused = prunebench("host", *words)
        assert refused.returncode == 2
        assert says in refused.stderr
        assert len(refused.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("url", "says"), [("http://127.0.0.1:9", "does not answer"), ("ftp://x", "must be like"), ("x", "must be like")]
)
def test_a_host_that_cannot_be_asked_is_reported_before_there_is_a_run_folder(
    prunebench, experiment, tmp_path, url, says
):
    refused = prunebench("run", experiment(), "--serve-on", url)
    assert (refused.returncode, says in refused.stderr) == (2, True)
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_report_waits_for_the_runner_and_says_when_that_was_killed(prunebench, started, experiment, tmp_path):
    file = experiment(blocks="50")
    runner = started("run", file, "--output", "out")
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out" / "trials").glob("*/cell.json")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    second = prunebench("run", file, "--output", "out", "--resume")
    assert second.returncode == 2
    assert "another prunebench" in second.stderr
    waiting = started("report", "out", "--wait")
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(3)
    runner.kill()
    said, complained = waiting.communicate(timeout=60)
    assert waiting.returncode == 1
    assert said.strip() == "out/report.html"
    assert "killed" in complained


@pytest.mark.slow
def test_resume_or_start_resumes_an_unfinished_run_and_starts_a_new_one_after_a_complete_one(
    prunebench, experiment, tmp_path
):
    file = experiment(blocks="1")
    first = prunebench("run", file, "--resume-or-start", "--prune-only").stdout.split()
    again = prunebench("run", file, "--resume-or-start").stdout.split()
    assert again[-1] == f"{first[-1]}/report.html"
    time.sleep(1.1)  # folders are named by the second
    prunebench("run", file, "--resume-or-start", "--prune-only")
    assert len(list((tmp_path / "runs").glob("tiny-*"))) == 2
