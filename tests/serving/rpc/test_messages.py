"""Messages that are read, and those that are refused before anything is made of them."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from google.protobuf.message import DecodeError, Message
from hypothesis import given
from hypothesis import strategies as st

from protos.dqbart.v1 import seq2seq_pb2 as pb
from serving.rpc import messages
from serving.rpc.messages import ANY_TEXT, MAX_FIELDS, ON_LOOP_BYTES, Unread, read_message
from serving.service.errors import ErrorCode, ServiceError
from tests.serving.server.hostile import messages as any_messages

KINDS = (pb.TranslateRequest, pb.SummarizeRequest, pb.AnswerRequest, pb.ListModelsRequest)
MOST = 60_000


def read(kind: type[Message], content: bytes, most: int = MOST) -> Any:
    return asyncio.run(read_message(kind, Unread(content), most))


def refused(kind: type[Message], content: bytes, most: int = MOST) -> ServiceError:
    with pytest.raises(ServiceError) as error:
        read(kind, content, most)
    return error.value


@given(st.sampled_from(KINDS).flatmap(lambda kind: any_messages(kind.DESCRIPTOR)))
def test_messages_are_read(message: Message) -> None:
    assert read(type(message), message.SerializeToString()) == message


@given(st.sampled_from(KINDS), st.binary(max_size=40))
def test_what_protobuf_reads_is_read_and_nothing_else(kind: type[Message], content: bytes) -> None:
    try:
        expected = kind.FromString(content)
    except DecodeError:
        assert refused(kind, content).code == ErrorCode.BAD_PARAMETER
    else:
        # Groups, which this .proto has none of, are all that protobuf reads beside it.
        try:
            assert read(kind, content) == expected
        except ServiceError:
            assert any(byte & 7 in (3, 4) for byte in content)


TEXTS = pb.SummarizeRequest(texts=[""] * 10).SerializeToString() * (MAX_FIELDS // 10)
CONTEXTS = pb.AnswerRequest(questions=[pb.Question(contexts=["a"] * 99)]).SerializeToString() * (MAX_FIELDS // 100)


@pytest.mark.parametrize(
    ("kind", "content", "extra"),
    [
        (pb.SummarizeRequest, TEXTS, b"\x0a\x00"),
        (pb.AnswerRequest, CONTEXTS, b"\x0a\x00"),
        (pb.SummarizeRequest, b"\xf8\x07\x01" * MAX_FIELDS, b"\xf8\x07\x01"),
    ],
)
def test_a_message_of_very_many_fields_is_not_read(kind: Any, content: bytes, extra: bytes) -> None:
    read(kind, content)
    error = refused(kind, content + extra)
    assert (error.code, error.message) == (ErrorCode.BAD_PARAMETER, "the message has more than 20000 fields")


def test_looking_ends_at_the_first_field_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    varint = messages._Fields._varint
    monkeypatch.setattr(messages._Fields, "_varint", lambda self, at: looked.append(at) or varint(self, at))
    refused(pb.SummarizeRequest, b"\x0a\x00" * 5_000_000)
    assert len(looked) <= 2 * MAX_FIELDS


@pytest.mark.parametrize("letter", ["a", "\u5b57", "\U0001f600"])
def test_a_text_is_read_as_long_as_it_may_have_the_characters(letter: str) -> None:
    content = pb.SummarizeRequest(texts=[letter * 2_000]).SerializeToString()
    assert read(pb.SummarizeRequest, content, 2_000).texts == [letter * 2_000]
    error = refused(pb.SummarizeRequest, pb.SummarizeRequest(texts=["a" * 8_001]).SerializeToString(), 2_000)
    assert (error.code, error.message) == (
        ErrorCode.TOO_LONG,
        "a text has more than the 2000 characters that are accepted: split it",
    )
    name = pb.SummarizeRequest(model="a" * ANY_TEXT)
    assert read(pb.SummarizeRequest, name.SerializeToString(), 1) == name


def test_large_messages_are_read_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[Any] = []
    monkeypatch.setattr(messages, "_read", lambda *_: threads.append(threading.current_thread()))
    for size in (ON_LOOP_BYTES, ON_LOOP_BYTES + 1):
        read(pb.SummarizeRequest, b"a" * size)
    assert threads[0] is threading.main_thread()
    assert threads[1] is not threading.main_thread()
