"""What `make audit` finds in a lock, with an index on the loopback and without any."""

from __future__ import annotations

import importlib.util
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest

from tests.support.captured import captured

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "requirements" / "audit.py"
_SPEC = importlib.util.spec_from_file_location("audit", SCRIPT)
audit = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(audit)


def test_our_own_lock_has_one_pin_a_line_and_none_twice():
    pins, problems = audit.read_lock((ROOT / "requirements" / "lock.txt").read_text())
    assert not problems
    assert pins["pip-audit"]


NO_PINS = ("scipy", "scipy>=1.14", "scipy==1.17.1 # new", "<<<<<<< HEAD")
BAD_LINES = {
    "numpy==2.4.0": "numpy is pinned twice, to 2.3.5 and 2.4.0",
    "NumPy==2.3.5": "numpy is pinned twice, to 2.3.5 and 2.3.5",
    **{line: f"'{line}' is not NAME==VERSION" for line in NO_PINS},
}


@pytest.mark.parametrize(("line", "problem"), BAD_LINES.items())
def test_a_bad_line_fails_the_audit_before_anyone_is_asked(tmp_path, line, problem):
    lock = tmp_path / "lock.txt"
    lock.write_text(f"# comment\nnumpy==2.3.5\n{line}\n")
    done = captured([sys.executable, SCRIPT, lock], timeout=60)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].strip() == f"line 3: {problem}"
    assert "pip-audit" not in done.stdout


def test_packages_that_pip_audit_passes_over_do_not_count_as_audited():
    passed_over = {"name": "a", "skip_reason": "Dependency not found on PyPI and could not be audited: a (1)"}
    flawed = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
    assert audit.read_audit(json.dumps({"dependencies": [passed_over]})) == (0, [])
    assert audit.read_audit(json.dumps({"dependencies": [passed_over, flawed]})) == (1, ["b 2: PYSEC-1"])


FILES = {
    "fine": [("fine-1.0-py3-none-any.whl", False), ("fine-1.0.tar.gz", False)],
    "half": [("half-1.0-py3-none-any.whl", True), ("half-1.0.tar.gz", False)],
    "pulled": [("pulled-1.0-py3-none-any.whl", "it ate a disk"), ("pulled-1.0.tar.gz", "it ate a disk")],
    "silent": [("silent-1.0.tar.gz", True), ("silent-2.0.tar.gz", False)],
    "gone": [("gone-2.0.tar.gz", False), ("not a release.txt", False)],
}


@pytest.fixture
def index():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.removeprefix("/simple/").rstrip("/")
            files = [{"filename": file, "yanked": yanked} for file, yanked in FILES.get(name, [])]
            body = json.dumps({"name": name, "files": files}).encode()
            self.send_response(200 if files else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/simple"
    server.shutdown()
    server.server_close()
    thread.join()


def test_releases_that_were_yanked_or_are_gone_are_named_with_the_reason(index):
    assert audit.withdrawn_releases(dict.fromkeys(FILES, "1.0"), index) == [
        "pulled 1.0: was yanked: it ate a disk",
        "silent 1.0: was yanked",
        "gone 1.0: is not on the index",
    ]


def test_an_index_that_does_not_answer_is_an_error_and_no_clean_bill(index):
    with pytest.raises(httpx.HTTPError):
        audit.withdrawn_releases({"unknown": "1.0"}, index)
