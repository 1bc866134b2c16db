"""What the client sends, what it makes of failures, and when it asks again."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

import grpc
import pytest

from protos.dqbart.v1 import seq2seq_pb2 as pb
from serving.clients.client import FIRST_WAIT, Client, ServerError
from tests.serving.clients.fake_server import FakeServer, Refusal

BUSY = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "overloaded", "too many", retry_after="0")
GONE = Refusal(grpc.StatusCode.UNAVAILABLE)


def test_texts_options_and_key_are_sent(fake: FakeServer) -> None:
    with Client(fake.address, api_key="secret") as client:
        results = client.translate(["eins", "zwei"], "de", "en", model="m", truncation="end", num_beams=2)
    assert [result.text for result in results] == ["EINS", "ZWEI"]
    parameters = pb.GenerationParameters(num_beams=2)
    languages = {"source_language": "de", "target_language": "en"}
    assert fake.asked == [
        pb.TranslateRequest(
            texts=["eins", "zwei"], model="m", truncation=pb.TRUNCATION_END, parameters=parameters, **languages
        )
    ]
    assert fake.metadata[0]["authorization"] == "Bearer secret"


def test_one_text_and_one_question(fake: FakeServer) -> None:
    with Client(fake.address) as client:
        assert client.summarize("a text")[0].text == "A TEXT"
        assert client.answer("who?", ["she wrote it", "in 1815"]).text == "WHO?"
        assert [model.name for model in client.models()] == ["m"]
    assert list(fake.asked[1].questions[0].contexts) == ["she wrote it", "in 1815"]
    assert "authorization" not in fake.metadata[0]


def test_options_that_are_none(fake: FakeServer) -> None:
    with Client(fake.address) as client:
        with pytest.raises(ValueError, match=r"truncation = 'start': accepted are error, end, chunk"):
            client.summarize("a", truncation="start")
        with pytest.raises(ValueError, match="beams"):
            client.summarize("a", beams=2)
    assert fake.asked == []


def test_a_busy_server_is_asked_again(fake: FakeServer) -> None:
    fake.refusals = [BUSY, BUSY]
    with Client(fake.address) as client:
        assert client.summarize("a")[0].text == "A"
    assert len(fake.asked) == 3


def test_the_servers_waiting_time_is_kept(fake: FakeServer) -> None:
    fake.refusals = [BUSY._replace(retry_after="30")]
    with Client(fake.address, retry_seconds=20) as client, pytest.raises(ServerError, match="too many") as error:
        client.summarize("a")
    assert (error.value.code, error.value.retry_after, len(fake.asked)) == ("overloaded", 30, 1)


def test_what_is_wrong_is_not_asked_again(fake: FakeServer) -> None:
    fake.refusals = [Refusal(grpc.StatusCode.INVALID_ARGUMENT, "bad_parameter", "num_beams = 0: at least 1")]
    with Client(fake.address) as client, pytest.raises(ServerError, match=r"^num_beams = 0: at least 1$"):
        client.summarize("a")
    assert len(fake.asked) == 1


def test_a_server_that_went_away_is_waited_for_and_one_that_never_was_is_not(fake: FakeServer) -> None:
    fake.refusals = [GONE]
    with Client(fake.address) as client, pytest.raises(ServerError, match="no server answers at"):
        client.summarize("a")
    with Client(fake.address) as client:
        client.models()
        fake.refusals = [GONE]
        assert client.summarize("b")[0].text == "B"


def test_no_time_is_left_to_ask_again(fake: FakeServer) -> None:
    fake.refusals = [BUSY]
    with Client(fake.address, retry_seconds=0) as client, pytest.raises(ServerError, match="too many"):
        client.summarize("a")


def test_a_deadline(fake: FakeServer) -> None:
    never = threading.Event()
    fake.before_answer = lambda texts: (never.wait(), None)[1]
    message = f"{fake.address} gave no answer within the timeout of 0.2 seconds"
    with Client(fake.address, timeout=0.2) as client, pytest.raises(ServerError, match=message):
        client.summarize("a")
    never.set()


def test_something_else_answers(fake: FakeServer) -> None:
    fake.refusals = [Refusal(grpc.StatusCode.UNIMPLEMENTED)]
    with Client(fake.address) as client, pytest.raises(ServerError, match="is no dqbart server"):
        client.summarize("a")


def test_a_stream(fake: FakeServer) -> None:
    fake.refusals = [BUSY]
    with Client(fake.address) as client:
        *news, end = client.stream(pb.SummarizeRequest(texts=["one two"]))
    assert [event.text for event in news] == ["ONE", " TWO"]
    assert end.result.text == "ONE TWO"


def test_a_stream_that_is_refused_or_left(fake: FakeServer) -> None:
    with Client(fake.address) as client:
        with closing(client.stream(pb.SummarizeRequest(texts=["one two"]))) as events:
            assert next(iter(events)).text == "ONE"
        fake.longest = 0
        with pytest.raises(ServerError, match="it is too long"):
            list(client.stream(pb.SummarizeRequest(texts=["one two"])))


def test_a_closed_client_waits_no_more(fake: FakeServer) -> None:
    fake.refusals = [BUSY._replace(retry_after="1000")] * 3
    client = Client(fake.address, retry_seconds=10_000)
    raised: list[Exception] = []

    def ask() -> None:
        try:
            client.summarize("a")
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    while not fake.asked:
        thread.join(FIRST_WAIT)
    client.close()
    thread.join()
    assert raised


def test_certificates_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Client("localhost:1", ca_file=tmp_path / "absent.pem")
