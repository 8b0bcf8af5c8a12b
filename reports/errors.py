"""The error of reports for their users."""

from __future__ import annotations

from pathlib import Path

from base.errors import UserError


class ReportError(UserError):
    """A run cannot be read or a report cannot be written; one line that names the path."""


def require_name(output: Path | None) -> None:
    """Raises ReportError if `output` names no file, as `--output ""` does."""
    if output is not None and not output.name:
        raise ReportError(f"--output {output}: must name a file")
