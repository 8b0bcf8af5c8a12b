"""What a user adds to the body of every request, over the keys that the load itself writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, TypeGuard

from pydantic import AfterValidator, BeforeValidator

# Keys that a load cannot do without, and what sets them instead.
NOT_FREE = {
    "model": "--model names the model, of a LoRA adapter too",
    "prompt": "--prompts gives them",
    "messages": "--prompts gives them",
    "stream": "every answer is streamed, or its tokens would have no times",
    "n": "a request has one answer",
    "best_of": "a request has one answer",
}


def read_body(given: Any) -> Any:
    """A JSON object as text, or the file that holds one; what is no text stays as it is. Raises ValueError."""
    return read_json(given, dict, '{"temperature": 0.7}')


def read_json(given: Any, kind: type[Any], example: str) -> Any:
    """JSON of a kind as text, or the file that holds it; what is no text stays as it is. Raises ValueError with the example."""
    if not isinstance(given, str):
        return given
    text = given
    if not given.lstrip().startswith(example[0]):
        try:
            text = Path(given).expanduser().read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            said = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise ValueError(f"is neither JSON like {example} nor a file of it: {given} ({said})") from None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON ({error})") from None
    if not isinstance(found, kind):
        raise ValueError(f"must be JSON such as {example}")  # noqa: TRY004 - what pydantic reads
    return found


def names_a_file(given: Any) -> TypeGuard[str]:
    """Whether a value of `body` or `parts` is the name of a file: text that does not begin as JSON."""
    return isinstance(given, str) and not given.lstrip().startswith(("{", "["))


def _free(body: dict[str, Any] | None) -> dict[str, Any] | None:
    for key, instead in NOT_FREE.items():
        if key in (body or {}):
            raise ValueError(f"cannot set {key}: {instead}")
    return body


Body = Annotated[
    dict[str, Any] | None,
    BeforeValidator(read_body, json_schema_input_type=dict[str, Any] | str | None),
    AfterValidator(_free),
]
