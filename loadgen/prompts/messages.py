"""Prompts that are conversations: what of a row of a file goes into a chat request, and the check that it is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Request = dict[str, Any]  # keys of a request's body: `messages` or a `prompt`, and those that come with it
Chat = Request  # with `messages`
_KEYS = ("messages", "tools", "tool_choice")
_ROLES = {"human": "user", "gpt": "assistant", "chatgpt": "assistant"}  # of ShareGPT's speakers


def chat_of(row: Mapping[str, Any]) -> Chat:
    """The chat in a row that has `messages`. Raises ValueError for messages that no server takes."""
    messages = row["messages"]
    if not isinstance(messages, list) or not messages or not all(map(_is_message, messages)):
        raise ValueError('messages must be a list of {"role": "user", "content": "…"}')
    return {key: row[key] for key in _KEYS if row.get(key) is not None}


def conversation_of(row: Mapping[str, Any]) -> Chat:
    """The whole of a ShareGPT row's `conversations` as messages. Raises ValueError for turns without from and value."""
    try:
        turns = [(_ROLES.get(turn["from"], turn["from"]), turn["value"]) for turn in row["conversations"]]
    except (KeyError, TypeError):
        raise ValueError("has a turn without from and value") from None
    if not all(isinstance(role, str) and isinstance(text, str) for role, text in turns):
        raise ValueError("has a turn without from and value")
    return {"messages": [{"role": role, "content": text} for role, text in turns]}


def has_messages(asked: object) -> bool:
    """Whether a prompt is messages, and no text or token ids."""
    return isinstance(asked, dict) and "messages" in asked


def numbered(asked: Request, lap: int) -> Request:
    """The same request with a number before its prompt or first message, which no prefix cache holds."""
    if "messages" not in asked:
        return {**asked, "prompt": f"({lap}) {asked['prompt']}"}
    first, *others = asked["messages"]
    content = first.get("content")
    if isinstance(content, Sequence) and not isinstance(content, str):
        content = [{"type": "text", "text": f"({lap})"}, *content]
    else:
        content = f"({lap}) {content or ''}"
    return {**asked, "messages": [{**first, "content": content}, *others]}


def _is_message(message: object) -> bool:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        return False
    content = message.get("content")
    return isinstance(content, str | list) or (content is None and "tool_calls" in message)
