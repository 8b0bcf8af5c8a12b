"""Work that grows with a request runs in a few threads, so that the event loop keeps serving other requests.

Small work stays inline, where it costs less than a thread. Threads share Python's lock with the event loop, so what runs here must
release it often: by calls that release it (`encode_batch`, `decode_batch`), or by doing one slice of the work at a time (`slices`,
`json_reader`, `json_writer`). Work in Python runs in one thread: two get no more done, and the loop waits for the lock behind both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

INLINE = 20_000  # characters to tokenize or to write as JSON in about 5 ms
LOGPROB_SIZE = 8  # characters that one log-probability counts for
SLICE = 8192  # members of a list of numbers that are looked at in one call
_PYTHON = ThreadPoolExecutor(1, thread_name_prefix="off-loop")
_TOKENIZING = ThreadPoolExecutor(2, thread_name_prefix="off-loop-tokenizing")  # the other cores belong to the engine
R = TypeVar("R")
T = TypeVar("T")


async def off_loop(work: Callable[[], R], size: int, *, is_tokenizing: bool = False) -> R:
    """The result of `work`, computed in a thread if its `size`, in characters, is more than INLINE."""
    if size <= INLINE:
        return work()
    return await asyncio.get_running_loop().run_in_executor(_TOKENIZING if is_tokenizing else _PYTHON, work)


def slices(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """The values in lists of at most SLICE, which one call processes in less than 1 ms."""
    return (values[at : at + SLICE] for at in range(0, len(values), SLICE))
