"""Ray Data's side: a Ray of this machine or of a cluster, and a pool of actors that parts are handed out to.

An actor whose process dies is started again, and does its parts again. One whose machine died waits for room on another one,
for good where there is none, with the parts that it had. So a pass ends when a machine dies, and the next one begins with
what is left, on the machines that are left (`MachineLost`).
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

import dqbart
from pipelines.batch.errors import BatchError
from pipelines.batch.parts import Part
from pipelines.batch.worker import PARTS_AT_A_TIME, Done, Job, Worker
from quant.errors import Error

_OBJECT_STORE_BYTES = 100 << 20
"""Of a Ray of this machine: nothing but numbers of parts goes through it."""
_LOOK_SECONDS = 2.0


class MachineLost(Exception):
    """A machine of the cluster has died."""


@dataclass(frozen=True)
class Pool:
    """Actors, and what each takes."""

    actors: int
    threads: int
    gpus: int


@contextmanager
def started(cores: int) -> Iterator[None]:
    """Ray, for the length of the block: the cluster at RAY_ADDRESS, else one of this machine. Raises BatchError."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(dqbart.ROOT), os.environ.get("PYTHONPATH"))))
    address = os.environ.get("RAY_ADDRESS")
    own: dict[str, Any] = {}
    if address is None:
        # Ray's own token, or it would write one to the home folder.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        # By default the actors would give way to everything else that the machine does.
        os.environ.setdefault("RAY_worker_niceness", "0")
        own = {"num_cpus": cores, "object_store_memory": _OBJECT_STORE_BYTES, "include_dashboard": False}
    import ray

    try:
        with _backend_silent():
            ray.init(address=address or "local", logging_level=logging.ERROR, log_to_driver=False, **own)
    except ConnectionError as error:
        raise BatchError(f"no Ray cluster answers at RAY_ADDRESS = {address!r}: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _backend_silent() -> Iterator[None]:
    """Ray's C++ says nothing on stderr but what is fatal: neither that it was told so, nor how its actors are restarted."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def pool_for(actors: int | None, threads: int | None, device: str) -> Pool:
    """What was asked for, as far as the cluster has it. Raises BatchError where it has less than one actor takes."""
    import ray

    has = ray.cluster_resources()
    cores, gpus = int(has.get("CPU", 0)), int(has.get("GPU", 0))
    if device.startswith("cuda") and not gpus:
        raise BatchError(f"device = {device!r}: the cluster has no GPU")
    if device.startswith("cuda") or (device == "auto" and gpus >= (actors or 1)):
        taken = min(actors or gpus, gpus)
        return Pool(taken, min(threads or max(cores // taken, 1), max(cores, 1)), 1)
    each = threads or (max(cores // actors, 1) if actors else 1)
    if each > cores:
        raise BatchError(f"threads = {each}: the cluster has {cores} cores")
    return Pool(min(actors or cores, cores // each), each, 0)


def passed(job: Job, parts: Sequence[Part], pool: Pool) -> Iterator[Done]:
    """What comes of each part, as soon as it is done. Raises MachineLost, BatchError, and what an actor raised."""
    import ray.data
    from ray.data import ActorPoolStrategy, DataContext

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.custom_execution_callback_classes = [_lost_machines()]
    context.max_consecutive_actor_init_deaths = 0
    # A block for each part, so that each is a task of its own.
    data = ray.data.from_items([{"part": part.number} for part in parts], override_num_blocks=len(parts)).map_batches(
        Worker,
        fn_constructor_args=(job,),
        batch_size=1,
        compute=ActorPoolStrategy(
            size=min(pool.actors, len(parts)),
            max_tasks_in_flight_per_actor=PARTS_AT_A_TIME,
            max_concurrent_calls_per_actor=PARTS_AT_A_TIME,
            enable_true_multi_threading=True,
        ),
        num_cpus=pool.threads,
        num_gpus=pool.gpus,
    )
    try:
        for row in data.iter_rows():
            yield Done(**row)
    except Exception as error:
        raise _cause(error) from error


def _lost_machines() -> type:
    """A callback of Ray Data's that ends a pass when a machine of those that it began with has died."""
    import ray
    from ray.data._internal.execution.execution_callback import ExecutionCallback

    def alive() -> set[str]:
        return {node["NodeID"] for node in ray.nodes() if node["Alive"]}

    class LostMachines(ExecutionCallback):  # type: ignore[misc]
        def before_execution_starts(self, executor: object) -> None:
            self._machines, self._looked = alive(), monotonic()

        def on_execution_step(self, executor: object) -> None:
            if monotonic() - self._looked < _LOOK_SECONDS:
                return
            self._looked = monotonic()
            now = alive()
            if self._machines - now:
                raise MachineLost
            self._machines = now

    return LostMachines


def _cause(error: BaseException) -> BaseException:
    """What an actor raised, out of what Ray and Ray Data put around it."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, (MachineLost, Error)):
            return seen
        seen = getattr(seen, "cause", None) or seen.__cause__
    return error
