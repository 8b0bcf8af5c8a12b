"""The checkpoint's chat template, rendered as transformers does, in a sandbox and without transformers.

The template is `chat_template.jinja`, else `chat_template` in `tokenizer_config.json` (of several, the one named "default").
What templates rely on beside Jinja (trimmed blocks, `raise_exception`, `strftime_now`, `tojson` without HTML escapes,
`{% generation %}` marks): https://huggingface.co/docs/transformers/chat_templating_writing
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from server.settings import ServeError

_RESERVED = frozenset({"messages", "add_generation_prompt", "bos_token", "eos_token"})


class ChatTemplateError(Exception):
    """The template refused these messages, in its own words."""


class ChatTemplate:
    """One compiled template with the special tokens it may name."""

    def __init__(self, source: str, special_tokens: dict[str, str]) -> None:
        """Raises jinja2.TemplateError for a source that is no template."""
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationMarks, loopcontrols]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: datetime.now().astimezone().strftime(form)
        self._template = environment.from_string(source)
        self._special_tokens = special_tokens

    def render(self, messages: list[dict[str, str]], *, add_generation_prompt: bool, extra: dict[str, Any]) -> str:
        """The prompt. `extra` reaches the template as variables. Raises ChatTemplateError."""
        if taken := _RESERVED & extra.keys():
            raise ChatTemplateError(f"{', '.join(sorted(taken))} cannot be given as template variables")
        try:
            return self._template.render(
                {**self._special_tokens, **extra}, messages=messages, add_generation_prompt=add_generation_prompt
            )
        except TemplateError as error:
            raise ChatTemplateError(error.message or type(error).__name__) from None
        except Exception as error:  # noqa: BLE001 - a template runs the operations of any type it is handed
            raise ChatTemplateError(f"{type(error).__name__}: {error}") from None


def find_template(folder: Path) -> ChatTemplate | None:
    """The checkpoint's template, or None. Raises ServeError naming the file if it cannot be used."""
    config_file, jinja_file = folder / "tokenizer_config.json", folder / "chat_template.jinja"
    config = _read_config(config_file)
    source_file = jinja_file if jinja_file.is_file() else config_file
    source = jinja_file.read_text() if jinja_file.is_file() else config.get("chat_template")
    if isinstance(source, list):
        source = next((entry["template"] for entry in source if entry.get("name") == "default"), None)
    if not source:
        return None
    special = {key: _token(value) for key, value in config.items() if key.endswith("_token") and _token(value)}
    try:
        return ChatTemplate(source, special)
    except TemplateError as error:
        raise ServeError(f"{source_file}: the chat template cannot be used: {error}") from None


def _read_config(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        config = json.loads(file.read_bytes())
    except ValueError as error:
        raise ServeError(f"{file}: is not JSON: {error}") from None
    if not isinstance(config, dict):
        raise ServeError(f"{file}: must hold a JSON object")
    return config


def _token(value: Any) -> str:
    """A special token as written in tokenizer_config.json: plain, or an object with its content."""
    content = value.get("content", "") if isinstance(value, dict) else value
    return content if isinstance(content, str) else ""


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _to_json(value: Any, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=False, **options)


class _GenerationMarks(Extension):
    """`{% generation %}` marks what the assistant wrote, for training; for a prompt it means nothing."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)
