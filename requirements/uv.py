"""Run uv with the settings that pip is configured with; uv does not read them by itself.

    python requirements/uv.py UV WORDS…

Indexes, folders of wheels, constraints and the certificate come from `pip config list` as uv's environment variables. One that is
set already stays; without a pip there are none.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys

_VARIABLES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "constraint": "UV_CONSTRAINT",
    "cert": "SSL_CERT_FILE",
}
_COMMA_SEPARATED = {"UV_FIND_LINKS"}
_SECTIONS = ("global", "install", ":env:")  # in pip's order: a later one wins


def uv_variables(listed: str) -> dict[str, str]:
    """Environment variables of uv for the output of `pip config list`."""
    found: dict[str, str] = {}
    settings = dict(line.split("=", 1) for line in listed.splitlines() if "=" in line)
    for section in _SECTIONS:
        for option, variable in _VARIABLES.items():
            if value := settings.get(f"{section}.{option}"):
                words = ast.literal_eval(value).split()
                found[variable] = ("," if variable in _COMMA_SEPARATED else " ").join(words)
    return found


def main() -> None:
    """Become uv."""
    asked = [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"]
    listed = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    os.execvpe(sys.argv[1], sys.argv[1:], uv_variables(listed) | os.environ)  # noqa: S606 - uv takes this process's place


if __name__ == "__main__":
    main()
