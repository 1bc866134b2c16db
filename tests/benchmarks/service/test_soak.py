"""What a soak sends, what it counts as a failure, and when it calls memory flat."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys

import pytest

from benchmarks.service.asking import Asking, Refused
from benchmarks.service.process_tree import sample_tree, trend
from benchmarks.service.running import Listed
from benchmarks.service.server_process import Running
from benchmarks.service.traffic import KINDS, Asked, draw
from serving.service.errors import ErrorCode

MODELS = [
    Listed("t", "translation", (("de_DE", "en_XX"),)),
    Listed("s", "summarization", ()),
    Listed("a", "question-answering", ()),
]


def drawn(count: int) -> list[Asked]:
    chance = random.Random(1)
    return [draw(chance, MODELS) for _ in range(count)]


def test_everything_is_drawn() -> None:
    requests = drawn(500)
    assert {asked.kind for asked in requests} == set(KINDS)
    assert {asked.task for asked in requests} == {model.task for model in MODELS}
    assert {asked.protocol for asked in requests} == {"http", "grpc"}
    assert {asked.expected for asked in requests if asked.kind == "bad"} == {
        ErrorCode.BAD_PARAMETER,
        ErrorCode.UNKNOWN_MODEL,
        ErrorCode.EMPTY_TEXT,
        ErrorCode.TOO_LONG,
    }
    assert all((asked.expected is None) == (asked.kind != "bad") for asked in requests)
    assert all((asked.cancel_after is None) == (asked.kind != "cancelled") for asked in requests)


def test_messages_are_made_of_all_of_them() -> None:
    for asked in drawn(200):
        assert asked.message().model == asked.body["model"]


def test_the_same_seed_draws_the_same() -> None:
    assert drawn(20) == drawn(20)


class FakeAsking(Asking):
    """Answers as it is told."""

    replies: list[list[str] | Refused]

    async def _texts(self, asked: Asked) -> list[str]:
        reply = self.replies.pop(0)
        if isinstance(reply, Refused):
            raise reply
        return reply


def asking(*replies: list[str] | Refused, requests: list[Asked]) -> FakeAsking:
    async def run() -> FakeAsking:
        fake = FakeAsking(Running("127.0.0.1:9", "127.0.0.1:9", 0))
        fake.replies = list(replies)
        for asked in requests:
            await fake.ask(asked)
        await fake.close()
        return fake

    return asyncio.run(run())


def of_kind(kind: str, protocol: str = "http") -> Asked:
    return next(each for each in drawn(500) if each.kind == kind and each.protocol == protocol)


def test_another_answer_to_the_same_request_is_a_failure() -> None:
    whole = of_kind("whole")
    assert not asking(["a"], ["a"], requests=[whole] * 2).failures
    assert asking(["a"], ["b"], requests=[whole] * 2).failures == {
        "whole over http: another answer than before to the same request": 1
    }


def test_errors_where_they_are_due_and_where_not() -> None:
    whole, bad = of_kind("whole"), of_kind("bad", "grpc")._replace(expected=ErrorCode.UNKNOWN_MODEL)
    fake = asking(Refused("500"), Refused("NOT_FOUND"), Refused("INTERNAL"), ["a"], requests=[whole, bad, bad, bad])
    assert fake.failures == {
        "whole over http: 500": 1,
        "bad over grpc: INTERNAL": 1,
        "bad over grpc: answered, and unknown_model was to be said": 1,
    }
    assert fake.counts["bad", "grpc", "NOT_FOUND"] == 1


def test_a_process_and_its_children_are_sampled() -> None:
    alone = sample_tree(os.getpid(), 1.0)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        together = sample_tree(os.getpid(), 2.0)
        child.communicate(b"\n")
    assert together.processes == alone.processes + 1
    assert alone.resident > 10 << 20
    assert alone.open_files > 2


@pytest.mark.parametrize(
    ("values", "growth", "flat"),
    [
        ([0, 50, 100, 100, 100, 100], 0.0, True),
        ([100, 100, 100, 110, 120, 130], 20.0, False),
        ([100, 100, 100, 90, 80, 70], -20.0, True),
        ([100, 100, 100, 100, 101, 102], 2.0, True),
    ],
)
def test_the_second_half_is_judged(values: list[float], growth: float, flat: bool) -> None:
    line = trend(list(range(len(values))), values)
    assert line is not None
    assert line.growth == pytest.approx(growth)
    assert line.flat(share=0.01, least=5) is flat


def test_too_few_samples_tell_nothing() -> None:
    assert trend([0, 1, 2, 3], [1, 1, 1, 1]) is None
