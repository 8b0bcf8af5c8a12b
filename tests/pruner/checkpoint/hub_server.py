"""The few endpoints of the Hugging Face hub that a download and an upload use, over real HTTP on the loopback."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """Its repositories, and the uploads that it has received."""

    url: str = ""
    models: dict[str, Path] = field(default_factory=dict)  # id -> folder, at the one revision COMMIT, also called main
    refuse: dict[str, tuple[int, str]] = field(
        default_factory=dict
    )  # id -> status and error code, e.g. (403, "GatedRepo")
    token: str | None = None  # what a reader must show
    created: list[dict[str, Any]] = field(default_factory=list)
    committed: dict[str, dict[str, bytes]] = field(default_factory=dict)  # id -> files
    sent_bytes: int = 0  # of files

    def environment(self, cache: Path, **more: str) -> dict[str, str]:
        """What makes huggingface_hub talk to this server and to nothing else."""
        return {"HF_ENDPOINT": self.url, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1", **more}


@contextmanager
def running_hub(address: tuple[str, int] = ("127.0.0.1", 0)) -> Iterator[Hub]:
    hub = Hub()

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(address, Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path, _, _ = self.path.partition("?")
        if path == "/api/whoami-v2":
            signed_in = self.headers.get("Authorization") == "Bearer right"
            self._json({"name": "me", "type": "user"} if signed_in else {"error": "no"}, 200 if signed_in else 401)
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            if self._may_see(match[1], match[2]):
                siblings = [{"rfilename": e["path"], "size": e["size"]} for e in self._entries(match[1])]
                self._json({"_id": "0", "id": match[1], "modelId": match[1], "sha": COMMIT, "siblings": siblings})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)(/.*)?", path):
            if self._may_see(match[1], match[2]):
                self._json(self._entries(match[1]))
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            if self._may_see(match[1], match[2]):
                self._file(self.hub.models[match[1]] / match[3])
        else:
            self._json({"error": f"unknown {path}"}, 404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            self.hub.created.append(asked)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            self._json({"url": f"{self.hub.url}/{name}", "name": name, "id": name})
        elif self.path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/paths-info/([^/]+)", self.path):
            wanted = json.loads(body)["paths"]
            self._json([entry for entry in self._entries(match[1]) if entry["path"] in wanted])
        elif re.fullmatch(r"/api/models/[^/]+/[^/]+/preupload/main", self.path):
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            self._json({"files": files})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", self.path):
            lines = [json.loads(line) for line in body.splitlines()]
            files = {
                line["value"]["path"]: base64.b64decode(line["value"]["content"])
                for line in lines
                if line["key"] == "file"
            }
            self.hub.committed.setdefault(match[1], {}).update(files)
            url = f"{self.hub.url}/{match[1]}/commit/{COMMIT}"
            self._json({"success": True, "commitOid": COMMIT, "commitUrl": url, "hookOutput": ""})
        else:
            self._json({"error": f"unknown {self.path}"}, 404)

    def _may_see(self, model: str, revision: str | None) -> bool:
        status, code = self.hub.refuse.get(model, (200, ""))
        if self.hub.token is not None and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            status, code = 401, "GatedRepo"
        if model not in self.hub.models and status == 200:
            status, code = 404, "RepoNotFound"
        elif revision not in {None, "main", COMMIT} and status == 200:
            status, code = 404, "RevisionNotFound"
        if status != 200:
            self._json({"error": code}, status, {"X-Error-Code": code})
        return status == 200

    def _entries(self, model: str) -> list[dict[str, Any]]:
        folder = self.hub.models[model]
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return [
            {"type": "file", "path": f.relative_to(folder).as_posix(), "size": f.stat().st_size, "oid": _etag(f)}
            for f in files
        ]

    def _file(self, path: Path) -> None:
        if not path.is_file():
            self._json({"error": "none"}, 404, {"X-Error-Code": "EntryNotFound"})
            return
        content, headers = (
            path.read_bytes(),
            {"ETag": f'"{_etag(path)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"},
        )
        status = 200
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(match[1]), int(match[2] or len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{min(last, len(content) - 1)}/{len(content)}"
            content, status = content[first : last + 1], 206
        self._answer(content, status, headers)
        self.hub.sent_bytes += len(content) if self.command == "GET" else 0

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._answer(json.dumps(value).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def _answer(self, content: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _etag(path: Path) -> str:
    return hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()
