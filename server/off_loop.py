"""Work that grows with a request runs in a few threads, so that the event loop goes on serving everybody else.

Small work stays inline: a thread costs more than it. Threads share Python's lock with the event loop, so what runs here must
release it often: by calls that release it (`encode_batch`, `decode_batch`), or by doing one slice of the work at a time (`slices`,
`json_reader`, `json_writer`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

INLINE = 20_000  # characters to tokenize or to write as JSON in about 5 ms
LOGPROB_SIZE = 8  # characters that one log-probability counts for
_THREADS = 2  # at once in all; the rest of the machine belongs to the engine
_POOL = ThreadPoolExecutor(_THREADS, thread_name_prefix="off-loop")
SLICE = 8192  # members of a list of numbers that are looked at in one call
R = TypeVar("R")
T = TypeVar("T")


async def off_loop(work: Callable[[], R], size: int) -> R:
    """The result of `work`, computed in a thread if its `size`, in characters, is more than INLINE."""
    if size <= INLINE:
        return work()
    return await asyncio.get_running_loop().run_in_executor(_POOL, work)


def slices(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """The values in lists so short that a single call goes through one in less than 1 ms."""
    return (values[at : at + SLICE] for at in range(0, len(values), SLICE))
