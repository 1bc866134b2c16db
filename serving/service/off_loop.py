"""Work that the event loop would be held by for longer than a millisecond or so, done on a thread beside it.

It is one thread for all that a replica does in this way. Threads take Python's lock from each other: with several at work
the loop would wait for all of them in turn, each time that it wants to go on. Whoever has much to do does it in parts,
between which others come to their turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from serving.engine.errors import EngineClosed

T = TypeVar("T")

_THREAD = ThreadPoolExecutor(1, "dqbart-off-loop")


async def off_loop(work: Callable[[], T]) -> T:
    """What `work` gives or raises, in its turn, which who waits may leave. Raises EngineClosed at the end of the process."""
    try:
        turn = asyncio.get_running_loop().run_in_executor(_THREAD, copy_context().run, work)
    except RuntimeError as fault:
        raise EngineClosed("the process ends") from fault
    return await turn
