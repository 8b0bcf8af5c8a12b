"""The turns of a session as bytes: each message is encoded once, however many turns carry it on."""

from __future__ import annotations

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

    def body(self, said: Sequence[bytes]) -> bytes:
        """The body with all messages that were said before, and the turn's own."""
        return b"".join([self.before, b", ".join([*said, self.asked]), self.after])


def encode_turns(
    model: str, workload: SessionsLoad, conversation: Conversation, seed: int, first: int
) -> list[EncodedTurn]:
    """The turns of a conversation whose first request has the number `first`."""
    turns, own = [], length_of(conversation.others)
    for index, turn in enumerate(conversation.turns, first):
        asked = asked_tokens(workload, seed, index, own)
        before, after = around_messages(model, workload, conversation.others, asked)
        turns.append(EncodedTurn(before, _encoded(turn.asked), after, _encoded(turn.recorded)))
    return turns


def _encoded(messages: list[Message]) -> bytes:
    return json.dumps(messages)[1:-1].encode()
