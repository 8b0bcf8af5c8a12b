"""Servers of other projects, started by the user's command line: a small HTTP server stands for them."""

import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from prunebench.servers.command_line import CommandLine
from prunebench.servers.process import ServerStartError, start_server

# Healthy at /ready; serves the model "theirs"; has a child of its own, as servers with workers do.
FOREIGN = """
import http.server, json, subprocess, sys
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        known = {"/ready": b"{}", "/v1/models": json.dumps({"data": [{"id": "theirs"}]}).encode()}
        body = known.get(self.path, b"")
        self.send_response(200 if body else 404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def foreign(tmp_path: Path) -> str:
    (tmp_path / "foreign.py").write_text(FOREIGN)
    return f"{sys.executable} {tmp_path / 'foreign.py'} {{port}}"


def start(text: str, folder: Path, *, seconds: float = 30, health: str = "/ready"):
    command = CommandLine(text, None, None, health)
    return start_server(command, folder / "log", start_timeout_s=seconds, request_timeout_s=10)


def below(process_id: int) -> list[psutil.Process]:
    return psutil.Process(process_id).children(recursive=True)


def test_a_foreign_server_is_asked_for_its_model_and_ended_with_what_it_started(foreign: str, tmp_path: Path):
    server = start(foreign, tmp_path)
    processes = below(server.process.pid)
    assert server.endpoint.model == "theirs"
    assert server.problem() is None
    assert len(processes) == 2
    server.stop()
    assert not psutil.wait_procs(processes, timeout=20)[1]


def test_one_that_ends_at_once_is_reported_with_its_last_words(tmp_path: Path):
    with pytest.raises(ServerStartError, match="status 3: no such model"):
        start(f"{sys.executable} -c \"import sys; print('no such model'); sys.exit(3)\" {{port}}", tmp_path)
    with pytest.raises(ServerStartError, match="no-such-program: No such file or directory"):
        start("no-such-program {port}", tmp_path)


def test_one_that_never_gets_healthy_is_ended(foreign: str, tmp_path: Path):
    with pytest.raises(ServerStartError, match="not healthy in time"):
        start(foreign, tmp_path, seconds=1.5, health="/never")
    assert not [
        p for p in psutil.process_iter(["cmdline"]) if str(tmp_path / "foreign.py") in (p.info["cmdline"] or [])
    ]


def test_it_is_gone_soon_after_its_runner_was_killed(foreign: str, tmp_path: Path):
    runner = f"""
    import time
    from pathlib import Path
    from prunebench.servers.command_line import CommandLine
    from prunebench.servers.process import start_server
    command = CommandLine({foreign!r}, None, None, "/ready")
    server = start_server(command, Path({str(tmp_path)!r}) / "log", start_timeout_s=30, request_timeout_s=10)
    print(server.process.pid, flush=True)
    time.sleep(60)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(runner)], stdout=subprocess.PIPE, text=True
    ) as started:
        supervisor = psutil.Process(int(started.stdout.readline()))
        server = supervisor.children()
        started.kill()
    assert not psutil.wait_procs([supervisor, *server], timeout=30)[1]
