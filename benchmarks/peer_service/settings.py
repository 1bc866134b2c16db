"""The settings that are tried on the peer, so that it is measured at its best ones.

How the cores are split, and which kernels are used, is tried at a middling batch; then, with the best of that, how many
texts a call may have, and whether to wait for company. A trial is so many clients at a time, as a loaded server sees them.
Batches that are large carry more and make each text wait longer: which of them is best is decided by the latencies of
requests that come at a rate, among those that carry about as much.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from benchmarks.peers import environments

MIDDLING = 16
BATCHES, QUICK_BATCHES = (1, 4, 8, 32), (4, 32)
WAITS = (0.005,)
ABOUT_AS_MUCH = 0.85
"""Of the most throughput: settings below it are not tried further."""

AT_A_RATE = 0.7
"""Of the most throughput, where contenders' latencies are compared."""


class PeerSettings(NamedTuple):
    """One way to run the peer."""

    workers: int
    """Processes of uvicorn."""
    replicas: int
    """Of the model in each (inter_threads)."""
    threads: int
    """Of each replica (intra_threads)."""
    max_batch: int = MIDDLING
    wait_seconds: float = 0.0
    environment: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        parts = [f"{self.workers} workers"] if self.workers > 1 else []
        parts += [f"{self.replicas} x {self.threads} threads", f"batches of {self.max_batch}"]
        parts += [f"waits {1e3 * self.wait_seconds:g} ms"] if self.wait_seconds else []
        return ", ".join(parts + [f"{name.removeprefix('CT2_')}={value}" for name, value in self.environment])


class Tried(NamedTuple):
    """What the search for the peer's best settings found in one case."""

    best: PeerSettings
    throughputs: dict[PeerSettings, float]
    """Requests a second of each."""
    latencies: dict[PeerSettings, float]
    """99th percentiles, in seconds, of those that carry about as much; nothing where there was one."""


def splits(cores: int, quick: bool) -> list[PeerSettings]:
    """Ways to split the cores, each with all kernels that this processor has; quickly, with the default ones only."""
    ways = [PeerSettings(1, 1, cores)]
    if cores > 1:
        ways += [PeerSettings(1, cores, 1), PeerSettings(cores, 1, 1)]
    kernels = [()] if quick else [tuple(each.items()) for each in environments()]
    return [way._replace(environment=each) for way in ways for each in kernels]


def batchings(best: PeerSettings, quick: bool) -> list[PeerSettings]:
    """The best split with other batches."""
    tried = [best._replace(max_batch=batch) for batch in (QUICK_BATCHES if quick else BATCHES)]
    return tried if quick else [*tried, *(best._replace(wait_seconds=wait) for wait in WAITS)]


def contenders(throughputs: dict[PeerSettings, float], most: int) -> list[PeerSettings]:
    """Those that carry about as much as the best of them, the best first."""
    best = max(throughputs.values())
    able = [settings for settings, throughput in throughputs.items() if throughput >= ABOUT_AS_MUCH * best]
    return sorted(able, key=lambda settings: -throughputs[settings])[:most]


def best_settings(
    names: Sequence[str],
    carried: Callable[[PeerSettings, Sequence[str]], dict[str, float]],
    waited: Callable[[PeerSettings, str, float], float],
    cores: int,
    quick: bool,
) -> dict[str, Tried]:
    """Of each case by its name.

    `carried` starts the peer with some settings, and returns its throughput in each of the named cases; `waited` returns its
    99th percentile in one case at a rate.
    """
    throughputs: dict[str, dict[PeerSettings, float]] = {name: {} for name in names}

    def measure(wanted: dict[PeerSettings, list[str]]) -> None:
        for settings, cases in wanted.items():
            for name, throughput in carried(settings, cases).items():
                throughputs[name][settings] = throughput

    measure({settings: list(names) for settings in splits(cores, quick)})
    wanted: dict[PeerSettings, list[str]] = {}
    for name in names:
        for settings in batchings(contenders(throughputs[name], 1)[0], quick):
            wanted.setdefault(settings, []).append(name)
    measure(wanted)
    found = {}
    for name in names:
        able = contenders(throughputs[name], 2 if quick else 3)
        rate = AT_A_RATE * max(throughputs[name].values())
        latencies = {settings: waited(settings, name, rate) for settings in able} if len(able) > 1 else {able[0]: 0.0}
        best = min(latencies, key=lambda settings: latencies[settings])
        found[name] = Tried(best, throughputs[name], latencies if len(able) > 1 else {})
    return found
