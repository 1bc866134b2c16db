"""Which models of a replica are in memory: loaded at the start or at their first use, unloaded when nobody uses them.

Requests to a model that is not in memory wait until it is; those to a model that has to make room wait until it was, and are
then in line for room themselves. So none is lost, and of models that do not fit side by side each has its turn.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from time import monotonic, perf_counter
from typing import Protocol

from serving.engine.engine import EngineStats
from serving.engine.errors import EngineClosed, EngineNotOpened
from serving.engine.request import Request, Result
from serving.service.models import Generator, ModelError

RETRY_SECONDS = 5.0
"""After a model could not be loaded, requests are told so at once; then it is tried again."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Residence:
    """When models are in memory."""

    at_start: bool = True
    """Or at their first use."""
    unload_after: float | None = None
    """Seconds without a request; None: never."""
    max_model_bytes: int | None = None
    """Of the files of those that are in memory; None: as many as there are."""

    def check(self, name: str, size_bytes: int) -> None:
        """Raises ModelError for a model that could never be loaded."""
        if self.max_model_bytes is not None and size_bytes > self.max_model_bytes:
            raise ModelError(f"{name} has {size_bytes} bytes, above max_model_bytes = {self.max_model_bytes}: raise that")


class LoadedEngine(Generator, Protocol):
    """What is opened and closed here."""

    def stats(self) -> EngineStats: ...


class Resident:
    """A model's engine, whether or not it is in memory (see service.models.Generator). All but `close` is for one loop."""

    def __init__(
        self,
        name: str,
        size_bytes: int,
        open_engine: Callable[[], LoadedEngine],
        residents: Residents,
        told: Callable[[float | None], None] = lambda _: None,
    ) -> None:
        """`told` is called with the seconds that loading took, and with None when the model was unloaded."""
        self.name = name
        self.size_bytes = size_bytes
        self.engine: LoadedEngine | None = None
        self.users = 0
        """Requests that have the engine, or wait for its loading."""
        self.unused = asyncio.Event()
        self.unused.set()
        self.leaving: asyncio.Future[None] | None = None
        """Done when it has been unloaded; requests wait for it."""
        self.loading: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.failed = -RETRY_SECONDS
        """When it could not be loaded."""
        self.closed = False
        self._open_engine = open_engine
        self._residents = residents
        self._told = told

    async def generate(self, request: Request) -> Result:
        """As the protocol says; raises EngineNotOpened, too."""
        async with self._residents.held(self) as engine:
            return await engine.generate(request)

    async def stream(self, request: Request) -> AsyncGenerator[tuple[int, ...] | Result]:
        """As the protocol says; raises EngineNotOpened, too."""
        async with self._residents.held(self) as engine, aclosing(engine.stream(request)) as news:
            async for each in news:
                yield each

    @property
    def loaded(self) -> bool:
        return self.engine is not None

    @property
    def fault(self) -> str | None:
        if self.closed:
            return "the engine is closed"
        return None if self.engine is None else self.engine.fault

    def stats(self) -> EngineStats:
        """What the engine has to do at this moment: nothing, where it is not in memory."""
        return EngineStats() if self.engine is None else self.engine.stats()

    def load(self) -> None:
        """Bring it into memory; takes long. Raises what opening raises."""
        started = perf_counter()
        engine = self._open_engine()
        if self.closed:
            engine.close()
            raise EngineClosed("the engine is closed")
        self.engine = engine
        self._residents.add(self)
        self._told(perf_counter() - started)

    def unload(self) -> None:
        """Take it out of memory; takes long."""
        engine, self.engine = self.engine, None
        if engine is not None:
            engine.close()
        self._told(None)

    def close(self) -> None:
        """Stop for good; from any thread."""
        self.closed = True
        self.unload()


class Residents:
    """The models of a replica that are in memory. All but `add` and `fits` is for one event loop."""

    def __init__(self, residence: Residence) -> None:
        self.residence = residence
        self._loaded: dict[Resident, None] = {}
        """Those whose last use is the longest ago first."""
        self._one_at_a_time = asyncio.Lock()
        """Loads one, and makes room for it; first come, first served."""
        self._unloading: set[asyncio.Task[None]] = set()

    def add(self, resident: Resident) -> None:
        """One was loaded."""
        self._loaded[resident] = None

    def watch_unused(self) -> None:
        """Have those that were loaded before anybody used them unloaded in time, too."""
        for resident in list(self._loaded):
            if not resident.users and resident.timer is None:
                self._unload_in_time(resident)

    def fits(self, size_bytes: int) -> bool:
        """Whether one of that size could be loaded beside those that are."""
        most = self.residence.max_model_bytes
        if most is None:
            return True
        for resident in [each for each in self._loaded if each.closed]:
            self._loaded.pop(resident, None)
        return sum(each.size_bytes for each in list(self._loaded)) + size_bytes <= most

    @asynccontextmanager
    async def held(self, resident: Resident) -> AsyncIterator[LoadedEngine]:
        """The engine of a model, which stays in memory meanwhile. Raises EngineNotOpened, EngineClosed."""
        while resident.leaving is not None:
            await asyncio.shield(resident.leaving)
        self._use(resident)
        try:
            if resident.engine is None:
                await self._load(resident)
            engine = resident.engine
            if engine is None:
                raise EngineClosed("the engine is closed")
            yield engine
        finally:
            self._leave(resident)

    def _use(self, resident: Resident) -> None:
        resident.users += 1
        resident.unused.clear()
        if resident.timer is not None:
            resident.timer.cancel()
            resident.timer = None
        if resident in self._loaded:
            del self._loaded[resident]
            self._loaded[resident] = None

    def _leave(self, resident: Resident) -> None:
        resident.users -= 1
        if resident.users:
            return
        resident.unused.set()
        self._unload_in_time(resident)

    def _unload_in_time(self, resident: Resident) -> None:
        if self.residence.unload_after is not None:
            loop = asyncio.get_running_loop()
            resident.timer = loop.call_later(self.residence.unload_after, self._unload_unused, resident)

    async def _load(self, resident: Resident) -> None:
        """Several requests wait for the same loading, which goes on when they leave."""
        if monotonic() - resident.failed < RETRY_SECONDS:
            raise _not_loaded(resident)
        if resident.loading is None:
            resident.loading = asyncio.create_task(self._load_in_turn(resident))
        await asyncio.shield(resident.loading)

    async def _load_in_turn(self, resident: Resident) -> None:
        try:
            async with self._one_at_a_time:
                while not self.fits(resident.size_bytes) and self._loaded:
                    await self._unload_one()
                if not resident.closed:
                    await asyncio.to_thread(resident.load)
            if not resident.users:
                # Whoever asked for it has left meanwhile.
                self._unload_in_time(resident)
        except EngineClosed:
            pass  # Whoever waits for it finds no engine.
        except Exception as fault:
            _LOG.error("%s could not be loaded", resident.name, exc_info=fault)
            resident.failed = monotonic()
            # Of a task that nobody may wait for any more: what is raised is not to be forgotten, and is in the log.
            asyncio.get_running_loop().call_soon(_retrieve, resident.loading)
            raise _not_loaded(resident) from fault
        finally:
            resident.loading = None

    async def _unload_one(self) -> None:
        """The one that nobody has used for the longest time; else the one whose last request came first, when it is free."""
        staying = [each for each in self._loaded if each.leaving is None]
        if not staying:
            await asyncio.wait([each.leaving for each in self._loaded if each.leaving], return_when=asyncio.FIRST_COMPLETED)
            return
        await self._unload(next((each for each in staying if not each.users), staying[0]))

    def _unload_unused(self, resident: Resident) -> None:
        resident.timer = None
        if not resident.users and resident.engine is not None and resident.leaving is None:
            unloading = asyncio.create_task(self._unload(resident))
            self._unloading.add(unloading)
            unloading.add_done_callback(self._unloading.discard)

    async def _unload(self, resident: Resident) -> None:
        resident.leaving = asyncio.get_running_loop().create_future()
        try:
            await resident.unused.wait()
            await asyncio.to_thread(resident.unload)
            self._loaded.pop(resident, None)
            _LOG.info("%s was unloaded", resident.name)
        finally:
            resident.leaving.set_result(None)
            resident.leaving = None


def _not_loaded(resident: Resident) -> EngineNotOpened:
    return EngineNotOpened(f"{resident.name} could not be loaded, which the server's log explains; repeat this later")


def _retrieve(task: asyncio.Task[None] | None) -> None:
    if task is not None and task.done() and not task.cancelled():
        task.exception()
