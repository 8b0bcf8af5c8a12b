"""The turns of a session as bytes: each message is encoded once, however many turns carry it on."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass

from loadgen.prompts.batch_lines import length_of
from loadgen.prompts.request_body import around_messages, asked_tokens
from loadgen.prompts.sessions import Conversation, Message
from loadgen.workloads.sessions import SessionsLoad


@dataclass(frozen=True)
class EncodedTurn:
    """The parts that a turn's request is put together from, all of them JSON."""

    before: bytes  # of the body, up to its first message
    asked: bytes  # the turn's own messages
    after: bytes  # of the body, from behind its last message
    recorded: bytes  # the messages that answered it in the recording
    tools: tuple[bytes, ...] = ()  # the tools' answers that its own messages begin with, each up to the id of its call
    rest: bytes = b""  # its own messages behind those

    def answering(self, calls: Sequence[str]) -> bytes:
        """Its own messages, with the tools' answers for these calls instead of the recorded ones."""
        answers = (tool + json.dumps(call).encode() + b"}" for tool, call in zip(self.tools, calls, strict=True))
        return b", ".join([*answers, *([self.rest] if self.rest else [])])


class Carried:
    """A session under way: its turns, and all that was said until now, as JSON.

    What the file's tools answered belongs to the file's calls. Where the server has made as many calls as they are, they answer
    those, in order; where it has not, the file's own answer is carried on instead of the server's. A call for which the file has no
    answer is answered with an empty text: servers refuse a conversation in which one stays open.
    """

    def __init__(self, turns: Sequence[EncodedTurn], *, recorded: bool) -> None:
        self._turns, self._recorded = turns, recorded
        self._said: list[bytes] = []
        self._asked = turns[0].asked

    def body(self, number: int) -> bytes:
        """The request of a turn: all messages that were said before, and its own."""
        turn = self._turns[number]
        return b"".join([turn.before, b", ".join([*self._said, self._asked]), turn.after])

    def answer(self, number: int, message: bytes, calls: Sequence[str]) -> None:
        """A turn was answered with this message, which calls tools with these ids, and the next follows."""
        turn, following = self._turns[number], self._turns[number + 1]
        self._said.append(self._asked)
        tools = len(following.tools)
        if self._recorded or (tools and tools != len(calls)):
            self._said.append(turn.recorded)
            self._asked = following.asked
        elif tools:
            self._said.append(message)
            self._asked = following.answering(calls)
        else:
            self._said += [message, *(_encoded([_unanswered(call)]) for call in calls)]
            self._asked = following.asked


def encode_turns(
    model: str, workload: SessionsLoad, conversation: Conversation, seed: int, first: int
) -> list[EncodedTurn]:
    """The turns of a conversation whose first request has the number `first`."""
    turns, own = [], length_of(conversation.others)
    for index, turn in enumerate(conversation.turns, first):
        asked = asked_tokens(workload, seed, index, own)
        before, after = around_messages(model, workload, conversation.others, asked)
        tools = list(itertools.takewhile(lambda message: message["role"] == "tool", turn.asked))
        turns.append(
            EncodedTurn(
                before,
                _encoded(turn.asked),
                after,
                _encoded(turn.recorded),
                tuple(map(_without_id, tools)),
                _encoded(turn.asked[len(tools) :]),
            )
        )
    return turns


def _unanswered(call: str) -> Message:
    return {"role": "tool", "content": "", "tool_call_id": call}


def _without_id(message: Message) -> bytes:
    """A tool's answer up to the id of the call that it answers."""
    others = {key: value for key, value in message.items() if key != "tool_call_id"}
    return _encoded([others])[:-1] + b', "tool_call_id": '


def _encoded(messages: list[Message]) -> bytes:
    return json.dumps(messages)[1:-1].encode()
