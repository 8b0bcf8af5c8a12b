"""Conversations to hold with a server: what the user says at each turn, and the answers that a file recorded."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from loadgen.prompts.base import Prompts
from loadgen.prompts.batch_lines import length_of, other_keys
from loadgen.prompts.messages import Chat, numbered
from loadgen.workloads.sessions import SessionsLoad

Message = dict[str, Any]
_FAR = 10_000  # turns that a synthetic session cannot have


@dataclass(frozen=True)
class Turn:
    """What the user's side adds, and what was answered in the recording."""

    asked: list[Message]
    recorded: list[Message] = field(default_factory=list)


@dataclass(frozen=True)
class Conversation:
    """Turns in order, and the chat's other keys."""

    turns: list[Turn]
    others: Chat = field(default_factory=dict)

    @property
    def beginning(self) -> Chat:
        """The prompt of its first turn."""
        return {**self.others, "messages": self.turns[0].asked}


class Sessions(Prompts):
    """An endless row of conversations; as prompts, each one's first turn."""

    @abstractmethod
    def session(self, number: int) -> Conversation:
        """The conversation of session `number`; warm-up sessions count down from -1."""

    @abstractmethod
    def turns(self, number: int) -> int:
        """How many turns it has."""

    def __getitem__(self, index: int) -> Chat:
        """The first turn of a session."""
        return self.session(index).beginning


@dataclass(frozen=True)
class SyntheticSessions(Sessions):
    """As many turns as the workload draws, each of new text."""

    texts: Prompts
    workload: SessionsLoad
    seed: int

    def session(self, number: int) -> Conversation:
        """Drawn from the seed and the number."""
        texts = (self.texts[number * _FAR + turn] for turn in range(self.turns(number)))
        return Conversation([Turn([{"role": "user", "content": text}]) for text in texts])

    def turns(self, number: int) -> int:
        """Drawn without the texts."""
        return self.workload.session_turns(self.seed, number)


@dataclass(frozen=True)
class FileSessions(Sessions):
    """The user's conversations in order, and again with a number in front when they run out."""

    chats: Sequence[Chat]
    notes: tuple[str, ...] = ()  # entries of the file that are left out, and keys that are not sent

    def session(self, number: int) -> Conversation:
        """The file's, cut into turns."""
        lap, place = divmod(number, len(self.chats))
        return in_turns(numbered(self.chats[place], lap) if lap else self.chats[place])

    def turns(self, number: int) -> int:
        """Those of the file's conversation, in every lap."""
        return len(in_turns(self.chats[number % len(self.chats)]).turns)

    def own_length(self, index: int) -> int | None:
        """What its line asks for, at each turn."""
        return length_of(self.chats[index % len(self.chats)])

    @property
    def own_keys(self) -> frozenset[str]:
        """Those of all lines."""
        return other_keys(self.chats)


def plan_sessions(sessions: Sessions, requests: int | None) -> Iterator[tuple[int, int]]:
    """(session, number of its first request) until they have `requests` turns; the last is taken whole. None: without end."""
    number = first = 0
    while requests is None or first < requests:
        yield number, first
        first += sessions.turns(number)
        number += 1


def in_turns(chat: Mapping[str, Any]) -> Conversation:
    """A chat cut after each answer; what an assistant says before any user is left out. Raises ValueError if no user speaks."""
    turns: list[Turn] = []
    asked: list[Message] = []
    for message in chat["messages"]:
        if message["role"] != "assistant":
            asked.append(message)
        elif any(one["role"] != "system" for one in asked):
            turns.append(Turn(asked, [message]))
            asked = []
        elif turns:
            turns[-1].recorded.append(message)
    if any(one["role"] != "system" for one in asked):
        turns.append(Turn(asked))
    if not turns:
        raise ValueError("no user says anything")
    return Conversation(turns, {key: value for key, value in chat.items() if key != "messages"})
