"""Audit the lock: well-formed, without known vulnerabilities, and if those cannot be learned, without yanked releases.

    make audit

1. Every line pins one package, and none stands there twice. That needs no network.
2. pip-audit asks for known vulnerabilities. Where its data is not reached it passes every package over and calls that "no known
   vulnerabilities"; so what counts is how many it could audit.
3. If that was none, the index is asked whether any of the pinned releases was yanked or is gone.

Says which of these it did. Exit 1 for findings, 2 where nothing but the first could be done.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import Version

LOCK = Path(__file__).parent / "lock.txt"
_PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9.!+_-]+)")
_JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}


def read_lock(text: str) -> tuple[dict[str, str], list[str]]:
    """Versions by name, and what is wrong with the lock, a line each."""
    pins: dict[str, str] = {}
    problems = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        found = _PIN.fullmatch(line)
        if found is None:
            problems.append(f"line {number}: {line!r} is not NAME==VERSION")
            continue
        name = canonicalize_name(found[1])
        if name in pins:
            problems.append(f"line {number}: {name} is pinned twice, to {pins[name]} and {found[2]}")
        pins[name] = found[2]
    return pins, problems


def read_audit(output: str) -> tuple[int, list[str]]:
    """How many packages pip-audit knew something of, and what it found, from its JSON."""
    audited = [one for one in json.loads(output)["dependencies"] if "skip_reason" not in one]
    found = [f"{one['name']} {one['version']}: {flaw['id']}" for one in audited for flaw in one["vulns"]]
    return len(audited), found


def pip_audit(lock: Path) -> tuple[int, list[str]]:
    """The same by running it; 0 packages where it does not get as far as an answer."""
    words = ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json", "--requirement", str(lock)]
    done = subprocess.run(
        [sys.executable, "-m", "pip_audit", *words], capture_output=True, text=True, timeout=900, check=False
    )
    return read_audit(done.stdout) if done.stdout.startswith("{") else (0, [])


def withdrawn(name: str, version: str, page: Mapping[str, Any]) -> str | None:
    """What the index says against a release, on its page of the package; None if nothing."""
    files = [file for file in page["files"] if _version(file["filename"]) == Version(version)]
    if not files:
        return f"{name} {version}: is not on the index"
    if all(file.get("yanked", False) is not False for file in files):
        reason = next((file["yanked"] for file in files if isinstance(file["yanked"], str)), "")
        return f"{name} {version}: was yanked{f': {reason}' if reason else ''}"
    return None


def withdrawn_releases(pins: Mapping[str, str], index: str) -> list[str]:
    """What the index says against any of them. Raises httpx.HTTPError if it cannot be asked."""

    def ask(name: str) -> str | None:
        answer = client.get(f"{index.rstrip('/')}/{name}/")
        return withdrawn(name, pins[name], answer.raise_for_status().json())

    with httpx.Client(headers=_JSON, timeout=60, follow_redirects=True) as client, ThreadPoolExecutor(4) as pool:
        return [found for found in pool.map(ask, pins) if found is not None]


def _version(filename: str) -> Version | None:
    try:
        return (parse_wheel_filename if filename.endswith(".whl") else parse_sdist_filename)(filename)[1]
    except (InvalidWheelFilename, InvalidSdistFilename):
        return None


def _index() -> str:
    """The one that pip asks."""
    from pip._internal.models.index import PyPI  # pip has no public name for its default

    asked = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    configured = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    return os.environ.get("PIP_INDEX_URL") or configured or str(PyPI.simple_url)


def main(lock: Path = LOCK) -> int:
    """Audit and print. Returns the exit status."""
    pins, problems = read_lock(lock.read_text("utf-8"))
    print(f"{lock.name}: {len(pins)} packages; {len(problems) or 'no'} malformed or duplicate lines")
    status = 0
    if not problems:
        audited, problems = pip_audit(lock)
        if audited:
            print(
                f"pip-audit: {audited} of {len(pins)} packages audited; {len(problems) or 'no'} known vulnerabilities"
            )
        else:
            print("pip-audit: its data cannot be reached; known vulnerabilities were not looked for")
            try:
                problems = withdrawn_releases(pins, _index())
                print(f"index: {len(pins)} releases looked up; {len(problems) or 'none'} yanked or gone")
            except (httpx.HTTPError, ValueError) as error:
                print(f"index: cannot be asked ({type(error).__name__}); yanked releases were not looked for")
                status = 2
    for problem in problems:
        print(f"  {problem}")
    return 1 if problems else status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])) if len(sys.argv) > 1 else main())
