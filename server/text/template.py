"""The checkpoint's chat template, rendered as transformers does, in a sandbox with limits and without transformers.

The template is `chat_template.jinja`, else `chat_template` in `tokenizer_config.json`. Where it has several, in a list or in
`additional_chat_templates`, requests with tools get the one named "tool_use", all others "default".
What templates rely on beside Jinja (trimmed blocks, `raise_exception`, `strftime_now`, `tojson` without HTML escapes,
`{% generation %}` marks): https://huggingface.co/docs/transformers/chat_templating_writing
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError, meta, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser

from server.settings import ServeError
from server.text.template_sandbox import Budget, LimitedSandbox, OutOfTimeError, TooLargeError, limited

RENDER_S = 2.0  # processor time; 4096 messages take a tenth of it
_RESERVED = frozenset({"messages", "add_generation_prompt", "bos_token", "eos_token"})
_LISTS = ("tools", "documents")  # None where they are not given, as transformers has it


class ChatTemplateError(Exception):
    """The template refused this request, with its own message, or cannot render it."""


class ChatTemplate:
    """The compiled templates of a checkpoint with the special tokens they may name."""

    def __init__(self, source: str, special_tokens: dict[str, str], *, tool_use: str | None = None) -> None:
        """Raises jinja2.TemplateError for a source that is no template."""
        environment = LimitedSandbox(trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationMarks, loopcontrols])
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: datetime.now().astimezone().strftime(form)
        sources = {"default": source, "tool_use": tool_use or source}
        self._templates = {name: environment.from_string(source) for name, source in sources.items()}
        self._names = {
            name: meta.find_undeclared_variables(environment.parse(source)) for name, source in sources.items()
        }
        self._special_tokens = special_tokens

    def render(
        self,
        messages: list[dict[str, Any]],
        *,
        add_generation_prompt: bool,
        extra: Mapping[str, Any],
        seconds: float = RENDER_S,
        characters: int = 16_000_000,
    ) -> str:
        """The prompt. `extra` reaches the template as variables, `tools` and `documents` among them.

        Raises OutOfTimeError after `seconds` of processor time; ChatTemplateError for anything else, as for more than
        `characters` written, those into variables included.
        """
        if taken := _RESERVED & extra.keys():
            raise ChatTemplateError(f"{', '.join(sorted(taken))} cannot be given as template variables")
        name = "default" if extra.get("tools") is None else "tool_use"
        self._check_lists(name, extra)
        variables = {**dict.fromkeys(_LISTS), **self._special_tokens, **extra}
        variables |= {"messages": messages, "add_generation_prompt": add_generation_prompt}
        try:
            return self._templates[name].render(limited(variables, Budget(seconds, characters)))
        except OutOfTimeError:
            raise
        except TooLargeError as error:
            raise ChatTemplateError(str(error)) from None
        except TemplateError as error:
            raise ChatTemplateError(error.message or type(error).__name__) from None
        except Exception as error:  # noqa: BLE001 - a template runs the operations of any type that it is given
            raise ChatTemplateError(f"{type(error).__name__}: {error}") from None

    def _check_lists(self, name: str, extra: Mapping[str, Any]) -> None:
        for key in _LISTS:
            given = extra.get(key)
            if given is None:
                continue
            if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
                raise ChatTemplateError(f"{key} must be a list of objects")
            if key not in self._names[name]:
                raise ChatTemplateError(f"it has no place for {key}")


def find_template(folder: Path) -> ChatTemplate | None:
    """The checkpoint's template, or None. Raises ServeError naming the file if it cannot be used."""
    config_file, jinja_file = folder / "tokenizer_config.json", folder / "chat_template.jinja"
    config = _read_config(config_file)
    given = config.get("chat_template")
    if isinstance(given, list):
        sources = {entry["name"]: entry["template"] for entry in given}
    else:
        sources = {"default": given} if given else {}
    if jinja_file.is_file():
        sources = {"default": jinja_file.read_text()}
        for file in sorted((folder / "additional_chat_templates").glob("*.jinja")):
            sources[file.stem] = file.read_text()
    if not sources.get("default"):
        return None
    # The configuration takes precedence over the separate file of older checkpoints.
    named = {**_read_config(folder / "special_tokens_map.json"), **config}
    special = {key: _token(value) for key, value in named.items() if key.endswith("_token") and _token(value)}
    try:
        return ChatTemplate(sources["default"], special, tool_use=sources.get("tool_use"))
    except TemplateError as error:
        source_file = jinja_file if jinja_file.is_file() else config_file
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
    return json.dumps(value, **{"ensure_ascii": False, **options})


class _GenerationMarks(Extension):
    """`{% generation %}` marks the assistant's text for training; it has no effect on a prompt."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)
