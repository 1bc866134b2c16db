"""The team that shares the kernels' work: every piece is done once, whoever does it, and nobody is waited for in vain."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from ctypes import c_int64, c_void_p
from typing import Any

import pytest

from serving.engine.native.team import team
from serving.engine.threads import set_threads

PIECE = ctypes.CFUNCTYPE(None, c_void_p, c_int64, c_int64)
PATIENCE = 60


@pytest.fixture(autouse=True)
def instruction_set() -> None:
    """Unlike the other tests here, these need no kernels, and run once."""


@pytest.fixture
def built() -> ctypes.CDLL:
    if (found := team()) is None:
        pytest.skip("it is not built")
    return found


def shares(built: Any, pieces: int, threads: int) -> list[tuple[int, int]]:
    """Who did which piece, in the order in which they were done."""
    done: list[tuple[int, int]] = []
    run(built, pieces, threads, lambda thread, each: done.append((thread, each)))
    return done


def run(built: Any, pieces: int, threads: int, piece: Callable[[int, int], None]) -> None:
    """Pieces in Python, whose lock is taken by one thread after another."""
    built.dq_team_run(c_int64(pieces), c_int64(threads), PIECE(lambda _, thread, each: piece(thread, each)), c_void_p(None))


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("pieces", [0, 1, 2, 3, 100])
def test_every_piece_is_done_once(pieces: int, threads: int, built: Any) -> None:
    set_threads(threads)
    for _ in range(20):
        done = shares(built, pieces, threads)
        assert sorted(each for _, each in done) == list(range(pieces))
        for member in range(threads):
            own = [each for thread, each in done if thread == member]
            assert own == sorted(own)
        assert {thread for thread, _ in done} <= set(range(threads))


def test_helpers_help(built: Any) -> None:
    """Each piece gives another thread time to come. Tried again, as helpers may be left out for a while."""
    set_threads(2)
    threads: set[int] = set()
    came = threading.Event()

    def piece(thread: int, each: int) -> None:
        threads.add(thread)
        if thread == 1:
            came.set()
        came.wait(0.05)

    for _ in range(PATIENCE * 20):
        run(built, 2, 2, piece)
        if came.is_set():
            break
    assert threads == {0, 1}


def test_a_second_caller_works_alone(built: Any) -> None:
    """While the first is in its piece; so does a piece that has pieces."""
    set_threads(2)
    inside, leave = threading.Event(), threading.Event()

    def held(_: int, each: int) -> None:
        inside.set()
        assert leave.wait(PATIENCE)

    first = threading.Thread(target=run, args=(built, 2, 2, held))
    first.start()
    assert inside.wait(PATIENCE)
    assert shares(built, 3, 2) == [(0, 0), (0, 1), (0, 2)]
    leave.set()
    first.join(PATIENCE)
    assert not first.is_alive()
    nested: list[tuple[int, int]] = []
    run(built, 2, 2, lambda _, outer: run(built, 2, 2, lambda thread, each: nested.append((outer, each))))
    assert sorted(nested) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_many_callers_at_once(built: Any) -> None:
    set_threads(3)
    counts = [0] * 4

    def call(caller: int) -> None:
        for _ in range(100):
            counts[caller] += sorted(each for _, each in shares(built, 7, 3)) == list(range(7))

    callers = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(PATIENCE)
    assert counts == [100] * 4


# Kernels on two threads before and after a fork, and an end of the process while helpers look for work.
FORK = """
import os, sys, warnings
import torch
from quant.numerics import Quantized
from serving.engine.native.linear import PackedLinear
from serving.engine.threads import set_threads

set_threads(2)
weight = Quantized(torch.randint(-1, 2, (2048, 1024), dtype=torch.int8), torch.ones(2048, 1))
layer, tokens = PackedLinear([weight], [], 2), torch.randn(8, 1024)
def product(): return layer(tokens, torch.empty(8, 2048))
expected = product()
warnings.simplefilter("ignore")  # that a process with threads forks
child = os.fork()
same = all(torch.equal(product(), expected) for _ in range(50))
if child == 0:
    os._exit(0 if same else 1)
_, status = os.waitpid(child, 0)
print(same, status)
"""


def test_forks_and_ends(built: Any) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=PATIENCE, env=environment)
    assert (ended.returncode, ended.stdout) == (0, "True 0\n"), ended.stderr[-2000:]
