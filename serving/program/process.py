"""What all loaded models of a process share, from the first that is loaded until the last is closed.

The loop that steps their engines in turn, with the threads that compute; and an event loop on a thread of its own, on which
inputs are prepared and awaited as in a server, and which calls come to from any thread and any event loop. At the end of the
interpreter what is still loaded is closed. Threads do not survive a fork: a process that was forked from one with models is
told so, and never waits for what no thread will do.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from quant.errors import Error
from serving.engine.cache_budget import CacheBudget
from serving.engine.errors import EngineClosed, InvalidSettings
from serving.engine.loop import CLOSED, EngineLoop
from serving.engine.settings import EngineSettings
from serving.engine.threads import available_threads, set_threads

T = TypeVar("T")

END_SECONDS = 10.0
"""For what the loop was given to end by itself; it is cancelled then."""


class ForkedError(Error):
    """A model is used, or loaded, in a process that was forked from one which had loaded models."""


class Closable(Protocol):
    """What the end of the interpreter closes."""

    def close(self) -> None: ...


class Shared:
    """The threads of a process's models, and the memory of their caches."""

    def __init__(self, threads: int | None, max_cache_bytes: int) -> None:
        self.pid = os.getpid()
        self.budget = CacheBudget(max_cache_bytes)
        self.threads = threads or available_threads()
        set_threads(self.threads)
        self.engines = EngineLoop()
        self._lock = threading.Lock()
        self._stopped = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="dqbart-requests", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Do it on the loop; cancelling the future cancels it. Raises EngineClosed after `stop`."""
        with self._lock:
            if self._stopped:
                work.close()
                raise EngineClosed(CLOSED)
            return asyncio.run_coroutine_threadsafe(work, self._loop)

    def stop(self) -> None:
        """End, when all that the loop was given has: what waits for an engine that is closed does so soon."""
        self.engines.close()
        with self._lock:
            self._stopped = True
            # Behind all that it was given.
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            if left := asyncio.all_tasks(self._loop):
                self._loop.run_until_complete(asyncio.wait(left, timeout=END_SECONDS))
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()


_LOCK = threading.Lock()
_open: dict[Closable, Shared] = {}
_loaded_in: int | None = None
"""The process in which a model was loaded first: this one, or one that it was forked from."""


def check_process(pid: int | None = None) -> None:
    """Raises ForkedError when `pid`, or any process that this one was forked from, is the one that has the models."""
    owner = _loaded_in if pid is None else pid
    if owner is not None and owner != os.getpid():
        raise ForkedError(
            f"models were loaded in process {owner}, and process {os.getpid()} was forked from it without their threads: "
            "load them after the fork only, or start processes with multiprocessing's spawn or forkserver"
        )


def joined(member: Closable, threads: int | None, max_cache_bytes: int) -> Shared:
    """What is shared, with one model more. Raises ForkedError, and InvalidSettings for other threads, or another limit of
    memory than the default, than those shared."""
    global _loaded_in
    if threads is not None and (type(threads) is not int or threads < 1):
        raise InvalidSettings(f"threads is {threads!r}, a whole number of at least 1 is expected")
    check_process()
    with _LOCK:
        _loaded_in = os.getpid()
        shared = next(iter(_open.values()), None) or Shared(threads, max_cache_bytes)
        if threads not in (None, shared.threads):
            raise InvalidSettings(f"threads is {threads}, and the models that are loaded already share {shared.threads}")
        if max_cache_bytes not in (EngineSettings.max_cache_bytes, shared.budget.max_bytes):
            most = shared.budget.max_bytes
            raise InvalidSettings(
                f"max_cache_bytes is {max_cache_bytes}, and the models that are loaded already share {most}"
            )
        _open[member] = shared
        return shared


def left(member: Closable) -> None:
    """A model has closed; with the last one ends what they shared."""
    with _LOCK:
        shared = _open.pop(member, None)
        if shared is None or _open:
            return
    shared.stop()


@atexit.register
def _close_all() -> None:
    if _loaded_in == os.getpid():
        for member in list(_open):
            member.close()
