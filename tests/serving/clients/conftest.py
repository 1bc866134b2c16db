"""A fake server on a free port."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from protos.dqbart.v1 import seq2seq_pb2_grpc
from tests.serving.clients.fake_server import FakeServer


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    fake = FakeServer()
    with ThreadPoolExecutor(8) as pool:
        server = grpc.server(pool)
        seq2seq_pb2_grpc.add_Seq2SeqServicer_to_server(fake, server)
        fake.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        yield fake
        server.stop(None).wait()
