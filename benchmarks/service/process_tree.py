"""Memory, open files and processor time of a process and all that came of it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

import psutil


class Sample(NamedTuple):
    """At one moment."""

    seconds: float
    """Since the traffic began."""
    resident: int
    """Bytes, summed over the processes; pages that several of them share count for each."""
    open_files: int
    processes: int


class Trend(NamedTuple):
    """The line through the second half of the samples."""

    start: float
    growth: float
    """From its start to its end."""

    def flat(self, share: float, least: float) -> bool:
        """Whether it rises by no more than a share of its start, or than `least`."""
        return self.growth <= max(share * self.start, least)


def sample_tree(pid: int, seconds: float) -> Sample:
    """Processes that end meanwhile are left out. Raises psutil.NoSuchProcess when the first one is gone."""
    first = psutil.Process(pid)
    resident = files = count = 0
    for process in (first, *first.children(recursive=True)):
        try:
            resident += process.memory_info().rss
            files += process.num_fds()
            count += 1
        except psutil.Error:
            continue
    return Sample(seconds, resident, files, count)


def cpu_seconds(pid: int) -> float:
    """That a process and all that came of it have computed; of those that have ended, what their parents waited for.

    Raises psutil.NoSuchProcess when the first one is gone.
    """
    first = psutil.Process(pid)
    seconds = 0.0
    for process in (first, *first.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        seconds += times.user + times.system
    return seconds


def trend(times: Sequence[float], values: Sequence[float]) -> Trend | None:
    """None for fewer than 3 samples in the second half."""
    half = len(times) // 2
    times, values = times[half:], values[half:]
    if len(times) < 3:
        return None
    slope, intercept = statistics.linear_regression(times, values)
    return Trend(intercept + slope * times[0], slope * (times[-1] - times[0]))
