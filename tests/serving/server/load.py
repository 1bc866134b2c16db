"""Clients that ask a server all the time, over both protocols, and remember how each request ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx

from protos.dqbart.v1 import seq2seq_pb2 as pb
from protos.dqbart.v1 import seq2seq_pb2_grpc
from tests.serving.server.running import PATIENCE, Server

TEXT = "good morning world"
TOKENS = 40
PARAMETERS: dict[str, Any] = {"min_new_tokens": TOKENS, "max_new_tokens": TOKENS}


@dataclass(frozen=True)
class Outcome:
    """`kind`: ok, an HTTP status, a gRPC code, or the name of what the client raised."""

    started: float
    kind: str
    detail: str
    streamed: bool


@dataclass
class Load:
    """What has been asked so far."""

    stopped: threading.Event = field(default_factory=threading.Event)
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def answered(self) -> int:
        return sum(outcome.kind == "ok" for outcome in self.outcomes)

    @property
    def failures(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.kind != "ok"]

    @property
    def kinds_of_failures(self) -> dict[tuple[str, str, bool], tuple[int, float, float]]:
        """What failed how, streamed or not: how often, when first and when last."""
        kinds: dict[tuple[str, str, bool], tuple[int, float, float]] = {}
        for each in self.failures:
            key = each.kind, each.detail, each.streamed
            count, first, _ = kinds.get(key, (0, each.started, 0.0))
            kinds[key] = count + 1, first, each.started
        return kinds

    def wait_for_answers(self, count: int) -> None:
        """Return when so many more requests were answered."""
        wanted, deadline = self.answered + count, time.monotonic() + PATIENCE
        while self.answered < wanted:
            assert time.monotonic() < deadline, f"only {self.answered} of {wanted} answers; {self.failures[-3:]}"
            time.sleep(0.01)


@contextmanager
def load(server: Server, clients: int = 3, streams: int = 0, **body: Any) -> Iterator[Load]:
    """As many clients over each protocol until the end of the block, and `streams` more of each that ask for streams.

    `body` is added to the requests.
    """
    running = Load()
    kinds = [(_over_http, clients), (_over_grpc, clients), (_stream_http, streams), (_stream_grpc, streams)]
    threads = [
        threading.Thread(target=_repeat, args=(running, ask, server, body)) for ask, count in kinds for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    try:
        yield running
    finally:
        running.stopped.set()
        for thread in threads:
            thread.join()


def _repeat(running: Load, client: Callable[..., Any], server: Server, body: dict[str, Any]) -> None:
    with client(server, body) as ask:
        while not running.stopped.is_set():
            started = time.monotonic()
            try:
                kind, detail = ask()
            except grpc.RpcError as error:
                kind, detail = error.code().name, error.details()
            except httpx.HTTPError as error:
                kind, detail = type(error).__name__, str(error)
            streamed = client in (_stream_http, _stream_grpc)
            running.outcomes.append(Outcome(started, kind, detail, streamed))


@contextmanager
def _over_http(server: Server, body: dict[str, Any]) -> Iterator[Callable[[], tuple[str, str]]]:
    with httpx.Client(timeout=PATIENCE) as client:

        def ask() -> tuple[str, str]:
            response = client.post(f"{server.url}/v1/summarize", json={"text": TEXT, "parameters": PARAMETERS, **body})
            return ("ok", "") if response.status_code == 200 else (str(response.status_code), response.text)

        yield ask


@contextmanager
def _stream_http(server: Server, body: dict[str, Any]) -> Iterator[Callable[[], tuple[str, str]]]:
    with httpx.Client(timeout=PATIENCE) as client:

        def ask() -> tuple[str, str]:
            given = {"text": TEXT, "parameters": {**PARAMETERS, "num_beams": 1}, "stream": True, **body}
            with client.stream("POST", f"{server.url}/v1/summarize", json=given) as response:
                if response.status_code != 200:
                    return str(response.status_code), response.read().decode()
                events = [line.removeprefix("event: ") for line in response.iter_lines() if line.startswith("event: ")]
            return ("ok", "") if events and events[-1] == "done" else ("ended early", str(events[-1:]))

        yield ask


@contextmanager
def _over_grpc(server: Server, body: dict[str, Any]) -> Iterator[Callable[[], tuple[str, str]]]:
    with grpc.insecure_channel(server.grpc_address) as channel:
        stub: Any = seq2seq_pb2_grpc.Seq2SeqStub(channel)

        def ask() -> tuple[str, str]:
            parameters = pb.GenerationParameters(**PARAMETERS)
            stub.Summarize(pb.SummarizeRequest(texts=[TEXT], parameters=parameters, **body), timeout=PATIENCE)
            return "ok", ""

        yield ask


@contextmanager
def _stream_grpc(server: Server, body: dict[str, Any]) -> Iterator[Callable[[], tuple[str, str]]]:
    with grpc.insecure_channel(server.grpc_address) as channel:
        stub: Any = seq2seq_pb2_grpc.Seq2SeqStub(channel)

        def ask() -> tuple[str, str]:
            parameters = pb.GenerationParameters(**PARAMETERS, num_beams=1)
            message = pb.SummarizeRequest(texts=[TEXT], parameters=parameters, **body)
            events = list(stub.SummarizeStream(message, timeout=PATIENCE))
            return ("ok", "") if events and events[-1].HasField("result") else ("ended early", str(events[-1:]))

        yield ask
