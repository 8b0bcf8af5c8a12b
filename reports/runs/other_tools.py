"""Results of other tools, recognised by their keys: each becomes loads of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from reports.errors import ReportError
from reports.runs.aiperf_import import AIPERF, import_aiperf, is_aiperf
from reports.runs.guidellm_import import GUIDELLM, import_guidellm, is_guidellm
from reports.runs.imported import Imported
from reports.runs.vllm_import import VLLM, import_vllm, is_vllm


def import_result(file: Path) -> list[Imported]:
    """The loads of a result, at least one. Raises ReportError naming a file that is none or cannot be used, OSError."""
    result = _parsed(file.read_bytes())
    try:
        if is_vllm(result):
            return [import_vllm(result)]
        if is_guidellm(result):
            return import_guidellm(result)
        if is_aiperf(lines := result if isinstance(result, list) else [result]):
            return [import_aiperf(lines, file)]
    except KeyError as error:
        raise ReportError(f"{file}: lacks {error}") from None
    except (ValueError, TypeError, IndexError) as error:
        raise ReportError(f"{file}: {str(error).partition(chr(10))[0]}") from None
    raise ReportError(f"{file}: is no result of {VLLM}, {GUIDELLM} or {AIPERF}")


def _parsed(text: bytes) -> Any:
    """JSON, or a list of the values of JSON lines; None for neither."""
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError:
        return None
