"""Messages between a replica and its engines arrive as they were sent."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.engine.engine import Emitted, EngineStats, Finished
from serving.engine.errors import EngineFull, GenerationFailed, InvalidRequest, SourceTooLong
from serving.engine.port import Step
from serving.engine.request import GeneratedSequence, GenerationParameters, Request, Result
from serving.engine.settings import EngineSettings
from serving.server.engines.wire import (
    Cancel,
    Close,
    Closed,
    FromEngines,
    NotOpened,
    Open,
    Opened,
    Overdue,
    Submit,
    Ticked,
    ToEngines,
    received,
    send,
    told,
)

PARAMETERS = GenerationParameters(max_new_tokens=8, decoder_start_token_id=2, eos_token_ids=(2,))
RESULT = Result((GeneratedSequence((5, 6, 2), "eos", -0.25, (-0.5, -0.0, -0.25)),), 0.25, 0.5, 1.0, 0.75)

floats = st.floats(allow_nan=False)
ids = st.integers(0, 2**31)
parameters = st.builds(
    GenerationParameters,
    max_new_tokens=ids,
    decoder_start_token_id=ids,
    eos_token_ids=st.lists(ids, min_size=1).map(tuple),
    length_penalty=floats,
    early_stopping=st.sampled_from([False, True, "never"]),
    bad_words_ids=st.lists(st.lists(ids, min_size=1).map(tuple)).map(tuple),
    do_sample=st.booleans(),
    seed=st.integers(0, 2**63 - 1),
    forced_bos_token_id=st.none() | ids,
)
requests = st.builds(Request, source_ids=st.lists(ids).map(tuple), parameters=parameters, stream=st.booleans())
sequences = st.builds(
    GeneratedSequence,
    token_ids=st.lists(ids).map(tuple),
    finish_reason=st.sampled_from(["eos", "length"]),
    score=st.none() | floats,
    token_log_probabilities=st.none() | st.lists(floats).map(tuple),
)
results = st.builds(
    Result,
    sequences=st.lists(sequences).map(tuple),
    queue_seconds=floats,
    encode_seconds=floats,
    decode_seconds=floats,
    first_token_seconds=floats,
)


def passed(message: ToEngines | FromEngines, kinds: object) -> object:
    """The message at the other end of a connection."""
    here, there = socket.socketpair()
    with here, there:
        sender = threading.Thread(target=lambda: (send(here, message), here.shutdown(socket.SHUT_WR)))
        sender.start()
        (arrived,) = received(there, kinds)
        sender.join()
    return arrived


@given(requests)
def test_a_request_arrives_as_it_is(request: Request) -> None:
    assert passed(Submit(3, 7, request), ToEngines) == Submit(3, 7, request)


@given(results)
def test_a_result_arrives_with_its_bits(result: Result) -> None:
    message = told(3, [Finished(7, result)], [Step(4, 0.25), Step(4, 0.5)], EngineStats())
    arrived = passed(message, FromEngines)
    assert arrived == message
    assert arrived.events() == [Finished(7, result)]


@pytest.mark.parametrize("message", [Cancel(1, 2), Close(1), Open(1, "/folder", EngineSettings(max_batch_rows=3), "native")])
def test_what_the_replica_asks_arrives(message: ToEngines) -> None:
    assert passed(message, ToEngines) == message


@pytest.mark.parametrize("message", [Opened(1), NotOpened(1, "why"), Closed(1, "why"), Ticked(), Overdue(1, 61.5)])
def test_what_is_answered_arrives(message: FromEngines) -> None:
    assert passed(message, FromEngines) == message


@pytest.mark.parametrize("fault", [InvalidRequest, SourceTooLong, EngineFull, GenerationFailed])
def test_a_fault_arrives_as_its_kind(fault: type[Exception]) -> None:
    (end,) = passed(told(0, [Finished(7, fault("what was wrong"))], [], EngineStats()), FromEngines).events()
    assert type(end.outcome) is fault
    assert str(end.outcome) == "what was wrong"


def test_events_of_a_request_keep_their_order() -> None:
    events = [Emitted(7, (5, 6)), Emitted(7, (2,)), Finished(7, RESULT)]
    assert told(0, events, [Step(1, 0.5)], EngineStats()).events() == events


def test_stats_arrive() -> None:
    stats = EngineStats(1, 2, 3, 4, 5, 0.125, 6)
    assert passed(told(0, [], [], stats), FromEngines).stats == stats
    assert stats != replace(stats, batch_rows=0)


def test_half_a_message_is_the_end() -> None:
    here, there = socket.socketpair()
    with there:
        with here:
            send(here, Opened(1))
            here.sendall(b"\x10\0\0\0half")
        assert list(received(there, FromEngines)) == [Opened(1)]


def test_who_has_gone_without_reading_everything_has_gone() -> None:
    here, there = socket.socketpair()
    send(there, Close(3))
    send(here, Ticked())
    there.close()
    with here:
        messages = received(here, ToEngines)
        # Linux tells at once that the connection was reset, whatever there was to read.
        assert list(messages) in ([], [Close(3)])
