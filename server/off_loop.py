"""Work that grows with a request runs in a few threads, so that the event loop goes on serving everybody else.

Small work stays inline: a thread costs more than it. Threads share Python's lock with the event loop, so what runs here must
release it often: by calls that release it (`encode_batch`, `decode_batch`), or by doing one slice of the work at a time.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

INLINE = 20_000  # characters to tokenize or to write as JSON in about 5 ms
LOGPROB_SIZE = 8  # characters that one log-probability counts for
_THREADS = 2  # at once in all; the rest of the machine belongs to the engine
_SLICE = 256  # members of a list that are written as JSON in one call
_POOL = ThreadPoolExecutor(_THREADS, thread_name_prefix="off-loop")
R = TypeVar("R")


async def off_loop(work: Callable[[], R], size: int) -> R:
    """The result of `work`, computed in a thread if its `size`, in characters, is more than INLINE."""
    if size <= INLINE:
        return work()
    return await asyncio.get_running_loop().run_in_executor(_POOL, work)


def json_text(value: Any) -> str:
    """As `json.dumps`, which holds Python's lock until it ends; here for one slice of a list at a time."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {json_text(member)}" for key, member in value.items()) + "}"
    if isinstance(value, list) and len(value) > _SLICE:
        slices = (value[at : at + _SLICE] for at in range(0, len(value), _SLICE))
        return "[" + ", ".join(json.dumps(members)[1:-1] for members in slices) + "]"
    return json.dumps(value)
