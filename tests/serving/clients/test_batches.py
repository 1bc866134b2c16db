"""Order, bounds and blame: many inputs by several requests at a time."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos.dqbart.v1 import seq2seq_pb2 as pb
from serving.clients.answers import Answered, Batch, Refusal, Refused
from serving.clients.batches import AHEAD, answer_all, in_batches
from serving.clients.client import Client, Request
from serving.clients.inputs import Input
from tests.serving.clients.fake_server import FakeServer
from tests.serving.clients.fake_server import Refusal as ServersRefusal


def inputs(texts: Sequence[str]) -> list[Input]:
    return [Input(f"line {number}", text) for number, text in enumerate(texts, 1)]


def build(asked: Sequence[Input]) -> Request:
    return pb.SummarizeRequest(texts=[each.text for each in asked])


def ask(fake: FakeServer, texts: Sequence[str], *, skip: bool = False, per_request: int = 4) -> list[Batch]:
    with Client(fake.address) as client:
        return list(answer_all(client, build, inputs(texts), per_request=per_request, in_flight=3, skip=skip))


def outputs(batches: list[Batch]) -> list[str | None]:
    return [answer.text if isinstance(answer, Answered) else None for batch in batches for _, answer in batch]


@given(st.lists(st.sampled_from(["", " ", "a", "b"])), st.integers(1, 4))
def test_batches_are_all_inputs_in_order(texts: list[str], most: int) -> None:
    batches = list(in_batches(inputs(texts), most))
    assert [each.text for batch in batches for each in batch] == texts
    full = [sum(not each.empty for each in batch) for batch in batches]
    assert all(count == most for count in full[:-1])
    assert all(count <= most for count in full)


def test_answers_keep_the_order_of_inputs_whichever_is_ready_first(fake: FakeServer) -> None:
    second = threading.Event()

    def wait_for_the_second(texts: list[str]) -> None:
        if "t0" in texts:
            second.wait()
        elif "t4" in texts:
            second.set()

    fake.before_answer = wait_for_the_second
    texts = [f"t{number}" for number in range(22)]
    assert outputs(ask(fake, texts)) == [text.upper() for text in texts]
    assert sorted(len(each.texts) for each in fake.asked) == [2, 4, 4, 4, 4, 4]


def test_no_more_than_so_many_are_ahead_of_the_oldest(fake: FakeServer) -> None:
    with Client(fake.address) as client:
        batches = answer_all(client, build, inputs(["t"] * 100), per_request=1, in_flight=2, skip=False)
        next(batches)
        batches.close()
    assert len(fake.asked) <= 2 * AHEAD


def test_empty_inputs_are_not_sent(fake: FakeServer) -> None:
    assert outputs(ask(fake, ["", "a", " ", "b", ""])) == [None, "A", None, "B", None]
    assert [list(each.texts) for each in fake.asked] == [["a", "b"]]


def test_the_input_at_fault_is_found_and_those_before_it_are_answered(fake: FakeServer) -> None:
    fake.longest = 3
    texts = [*"abcdefghi", "too long", *"kl"]
    with Client(fake.address) as client:
        batches = answer_all(client, build, inputs(texts), per_request=4, in_flight=3, skip=False)
        assert outputs([next(batches), next(batches)]) == [*"ABCDEFGH"]
        with pytest.raises(Refused, match=r"^line 10: it is too long$"):
            next(batches)


def test_inputs_at_fault_are_skipped(fake: FakeServer) -> None:
    fake.longest = 3
    batches = ask(fake, ["a", "too long", "b", "much too long"], skip=True)
    assert outputs(batches) == ["A", None, "B", None]
    assert [each.place for each, answer in batches[0] if isinstance(answer, Refusal)] == ["line 2", "line 4"]


def test_the_fault_of_all_stops_at_once_also_with_skip(fake: FakeServer) -> None:
    fake.refusals = [ServersRefusal(grpc.StatusCode.NOT_FOUND, "unknown_model", "x is not served")]
    with pytest.raises(Refused, match=r"^x is not served$"):
        ask(fake, ["a", "b"], skip=True)
    fake.refusals = [ServersRefusal(grpc.StatusCode.INVALID_ARGUMENT, "bad_parameter", "num_beams = 9")] * 2
    with pytest.raises(Refused, match=r"^line 1: num_beams = 9$"):
        ask(fake, ["a", "b"], skip=True)
