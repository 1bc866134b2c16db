"""Training in several processes, on one machine or on many, started and watched by Ray Train.

    driver ─► Ray ─► worker 0 .. N-1: the same command on the same settings, each with its place in the group

Every worker loads the teacher itself and takes its share of each step (`compress.training.loop`), so that nothing but
gradients travels. Rank 0 reads and encodes the data for all, validates and writes OUTPUT, which all machines must see under
the same path, as they must see the teacher. A run goes to the cluster that RAY_ADDRESS names; without it, Ray is started on
this machine alone.

When a worker dies, all are started anew and continue from OUTPUT/training/last, as `--resume` does; its result is that of a
run in which nothing happened. Ray's own retries (FailureConfig) would repeat a fault of data or settings as well, and give
up on a long run after a number of failures, however far it got between them: the driver decides instead.

What rank 0 prints goes through a file in OUTPUT to the driver's terminal: Ray's own way would put a prefix before each line,
and the messages of its services between them. The progress bar becomes a line now and then.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from compress.device import pick_device
from compress.errors import CompressError
from compress.expected_errors import EXPECTED_ERRORS
from compress.training.allocation import keep_freed_memory
from compress.training.group import Alone, Group, ProcessGroup
from compress.training.interruption import interruptible
from quant.processors import available_processors
from quant.whole_files import latest

Work = Callable[[Group, torch.device, bool, Console], int]
"""What each worker does, given its group, its device, whether to resume, and where it prints; returns the exit code.

Sent to the workers by pickle.
"""

_FAILURES = 3
_COLLECTIVE_SECONDS = 24 * 3600  # the others wait for as long as rank 0 validates
_OBJECT_STORE_BYTES = 2**27  # nothing large goes through it


class WorkersError(CompressError):
    """Workers that cannot be had, that failed at what the message says, or that kept dying."""


def train_in_workers(work: Work, workers: int, device: str, output: Path, resume: bool, console: Console) -> int:
    """Run `work` in so many processes; returns the exit code of rank 0. One worker is this process. Raises WorkersError.

    Of several workers, `device` is cpu, cuda or auto: cuda where the cluster has a GPU for each. Ctrl-C lets the workers
    save and stop; a second one ends them at once.
    """
    if workers == 1:
        keep_freed_memory()
        return work(Alone(), pick_device(device), resume, console)
    _start_ray(workers)
    try:
        gpus = _takes_gpus(device, workers)
        output.mkdir(parents=True, exist_ok=True)
        last = output.resolve() / "training" / "last"
        step, failures = _saved_step(last), 0
        while True:
            try:
                return _attempt(work, workers, gpus, last.parent, resume)
            except WorkersError:
                raise
            except _training_failed() as error:
                if (fault := _fault(error)) is not None:
                    raise fault from None
                saved = _saved_step(last)
                failures = 1 if saved != step else failures + 1
                step, resume = saved, saved is not None
                if failures == _FAILURES:
                    raise WorkersError(f"workers failed {_FAILURES} times with no step saved between: {error}") from error
                place = f"from step {saved}" if resume else "anew"
                print(f"a worker was lost; all start again, {place}", file=sys.stderr, flush=True)
    finally:
        import ray

        ray.shutdown()


def _start_ray(workers: int) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Workers import these packages, also from a checkout that is not installed.
    root = str(Path(__file__).resolve().parents[2])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    address = os.environ.get("RAY_ADDRESS")
    started: dict[str, Any] = {}
    if address is None:
        # Ray's own token, or it would write one to the home folder.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        cores = max(workers, available_processors())
        started = {"num_cpus": cores, "object_store_memory": _OBJECT_STORE_BYTES, "include_dashboard": False}
    import ray

    try:
        ray.init(address=address or "local", logging_level="WARNING", log_to_driver=False, **started)
    except ConnectionError as error:
        raise WorkersError(f"no Ray cluster answers at RAY_ADDRESS = {address!r}: {error}") from error


def _takes_gpus(device: str, workers: int) -> bool:
    """Whether each worker gets a GPU. Raises WorkersError where the cluster has too little."""
    import ray

    has = ray.cluster_resources()
    gpus, cores = int(has.get("GPU", 0)), int(has.get("CPU", 0))
    if device not in ("auto", "cpu", "cuda"):
        raise WorkersError(f"device is {device!r}: with workers = {workers}, cpu, cuda and auto are accepted")
    if device == "cuda" and gpus < workers:
        raise WorkersError(f"workers = {workers} on cuda need a GPU each, and the cluster has {gpus}")
    if cores < workers:
        raise WorkersError(f"workers = {workers} need a CPU core each, and the cluster has {cores}")
    return device != "cpu" and gpus >= workers


def _attempt(work: Work, workers: int, gpus: bool, folder: Path, resume: bool) -> int:
    """One start of all workers; `folder` is OUTPUT/training. Raises Ray's TrainingFailedError."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.config import LoggingConfig

    folder.mkdir(parents=True, exist_ok=True)
    stop, printed, scratch = folder / "stop", folder / "printed", folder / "ray"
    stop.unlink(missing_ok=True)
    printed.write_text("")
    shutil.rmtree(scratch, ignore_errors=True)  # Ray would take the run's name for one to restore
    place = {"folder": os.getcwd(), "stop": stop, "printed": printed}
    threads = int(os.environ.get("OMP_NUM_THREADS", 0)) or None
    trainer = TorchTrainer(
        _work,
        train_loop_config={"work": work, "resume": resume, "threads": threads, **place},
        torch_config=TorchConfig(timeout_s=_COLLECTIVE_SECONDS),
        # GPUs of one machine are near each other; cores are better had to oneself.
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpus, placement_strategy="PACK" if gpus else "SPREAD"),
        run_config=RunConfig(
            name=scratch.name,
            storage_path=str(folder),
            failure_config=FailureConfig(max_failures=0),
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
    )
    # On a thread of its own, as fit() would take SIGINT for itself and drop the run.
    pool = ThreadPoolExecutor(1)
    try:
        return int(_until_done(pool.submit(trainer.fit), stop, printed).return_value)
    finally:
        pool.shutdown(wait=False)
        stop.unlink(missing_ok=True)
        printed.unlink(missing_ok=True)
        shutil.rmtree(scratch, ignore_errors=True)


def _until_done(fitting: Future[Any], stop: Path, printed: Path) -> Any:
    with interruptible() as interrupted, printed.open() as output:
        while not fitting.done():
            wait([fitting], timeout=0.2)
            print(output.read(), end="", flush=True)
            if interrupted():
                stop.touch()
        print(output.read(), end="", flush=True)
    return fitting.result()


def _work(config: dict[str, Any]) -> int:
    """What runs in a worker."""
    import ray.train.torch

    keep_freed_memory()
    neighbours = ray.train.get_context().get_local_world_size()
    torch.set_num_threads(config["threads"] or max(1, available_processors() // neighbours))
    device = ray.train.torch.get_device()
    work: Work = config["work"]
    try:
        os.chdir(config["folder"])  # paths are relative to where the command was given
        with config["printed"].open("a", buffering=1) as file:
            group = ProcessGroup(config["stop"], device)
            console = Console(file=file, quiet=group.rank > 0)
            return work(group, device, config["resume"], console)
    except EXPECTED_ERRORS as error:
        raise WorkersError(str(error)) from error


def _training_failed() -> type[Exception]:
    from ray.train import TrainingFailedError

    failed: type[Exception] = TrainingFailedError
    return failed


def _fault(error: Exception) -> WorkersError | None:
    """The fault of data, settings or disk that a worker met; None where one died, or lost the others."""
    for failure in getattr(error, "worker_failures", {}).values():
        if isinstance(failure, WorkersError):
            return failure
    return None


def _saved_step(last: Path) -> int | None:
    try:
        return int(json.loads((latest(last) / "state.json").read_text())["step"])
    except FileNotFoundError:
        return None
