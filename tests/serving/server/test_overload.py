"""More requests at once than a server has places for, over both protocols; and a long document among short requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from protos.dqbart.v1 import seq2seq_pb2 as pb
from protos.dqbart.v1 import seq2seq_pb2_grpc
from serving.service.errors import RETRY_AFTER_SECONDS, ErrorCode
from tests.serving.server.load import load
from tests.serving.server.running import PATIENCE, Server, metrics, series, start_server

PLACES, QUEUE = 24, 8
"""Less than the clients below want: the replica has no place for some, and the model's queue has none for others."""

CLIENTS, EACH = 24, 4
"""Clients of each protocol, and requests of each client."""

TEXTS = ["good morning world", "how are you", "who wrote the book"]
PARAMETERS: dict[str, Any] = {"num_beams": 4, "min_new_tokens": 50, "max_new_tokens": 50}
RETRY_AFTER = str(RETRY_AFTER_SECONDS[ErrorCode.OVERLOADED])
REFUSED = ("429 overloaded", RETRY_AFTER), ("RESOURCE_EXHAUSTED overloaded", RETRY_AFTER)

DOCUMENT = "how are you. good morning world. " * 60
MANY_WINDOWS = DOCUMENT * 10
OF_A_DOCUMENT: dict[str, Any] = {"truncation": "chunk", "num_beams": 16, "min_new_tokens": 0, "max_new_tokens": 8}
"""The model decodes one of its windows at a time."""

Ask = Callable[..., tuple[str, str | None]]
"""A text, and what else the request has → ok and its summary, or the status and code and when to come back."""


@pytest.fixture(scope="module")
def server(artifacts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    limits = ("--max-concurrent-requests", str(PLACES), "--max-queued-requests", str(QUEUE), "--max-inputs", "4")
    models = [artifacts["summarizer"]]
    with start_server(tmp_path_factory.mktemp("server"), models, *limits, "--max-batch-rows", "16") as server:
        yield server


@pytest.fixture(scope="module")
def summaries(server: Server) -> dict[str, str | None]:
    """Of each of TEXTS, by a server that has nothing else to do."""
    with ExitStack() as held:
        ask = over_http(server, held)
        return {text: ask(text)[1] for text in TEXTS}


def over_http(server: Server, held: ExitStack) -> Ask:
    client = held.enter_context(httpx.Client(base_url=server.url, timeout=PATIENCE))

    def ask(text: str, truncation: str = "error", **parameters: Any) -> tuple[str, str | None]:
        body = {"text": text, "parameters": {**PARAMETERS, **parameters}, "truncation": truncation}
        response = client.post("/v1/summarize", json=body)
        if response.status_code == 200:
            return "ok", response.json()["results"][0]["text"]
        return f"{response.status_code} {response.json()['error']['code']}", response.headers.get("retry-after")

    return ask


def over_grpc(server: Server, held: ExitStack) -> Ask:
    # A connection of its own: by default those of one process share one.
    channel = held.enter_context(grpc.insecure_channel(server.grpc_address, [("grpc.use_local_subchannel_pool", 1)]))
    stub: Any = seq2seq_pb2_grpc.Seq2SeqStub(channel)

    def ask(text: str, truncation: str = "error", **parameters: Any) -> tuple[str, str | None]:
        message = pb.SummarizeRequest(
            texts=[text],
            parameters=pb.GenerationParameters(**{**PARAMETERS, **parameters}),
            truncation=f"TRUNCATION_{truncation.upper()}",
        )
        try:
            return "ok", stub.Summarize(message, timeout=PATIENCE).results[0].text
        except grpc.RpcError as error:
            failed: Any = error
            trailers = dict(failed.trailing_metadata())
            return f"{failed.code().name} {trailers.get('dqbart-error-code')}", trailers.get("retry-after")

    return ask


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def at_work(server: Server) -> float:
    names = ("dqbart_queue_size", "dqbart_running_inputs", "dqbart_ongoing_requests", "dqbart_cache_bytes")
    return sum(value for (name, _), value in metrics(server).items() if name in names)


def test_each_of_too_many_requests_is_answered_rightly_or_refused(server: Server, summaries: dict[str, str | None]) -> None:
    together = threading.Barrier(2 * CLIENTS)

    def repeat(ask: Ask, first: int) -> list[tuple[str, tuple[str, str | None]]]:
        together.wait()
        asked = [TEXTS[(first + place) % len(TEXTS)] for place in range(EACH)]
        return [(text, ask(text)) for text in asked]

    with ExitStack() as held, ThreadPoolExecutor(2 * CLIENTS) as pool:
        clients = [make(server, held) for _ in range(CLIENTS) for make in (over_http, over_grpc)]
        outcomes = [pair for outcome in pool.map(repeat, clients, range(len(clients))) for pair in outcome]
    refused = [outcome for text, outcome in outcomes if outcome != ("ok", summaries[text])]
    assert set(refused) == set(REFUSED)
    assert len(refused) < len(outcomes)
    wait_until(lambda: at_work(server) == 0)
    with ExitStack() as held:
        for make in (over_http, over_grpc):
            assert [make(server, held)(text) for text in TEXTS] == [("ok", summaries[text]) for text in TEXTS]


def test_refusals_come_at_once_and_who_was_admitted_is_answered(server: Server, summaries: dict[str, str | None]) -> None:
    """Two documents fill the queue for as long as they have windows. All that is refused is so before either is answered."""
    wait_until(lambda: at_work(server) == 0)
    told: list[tuple[str, tuple[str, str | None]]] = []

    def tell(ask: Ask, text: str, **others: Any) -> None:
        told.append((text, ask(text, **others)))

    with ExitStack() as held, ThreadPoolExecutor(2 + CLIENTS) as pool:
        clients = [make(server, held) for _ in range(1 + CLIENTS // 2) for make in (over_http, over_grpc)]
        documents = [pool.submit(tell, client, MANY_WINDOWS, **OF_A_DOCUMENT) for client in clients[:2]]
        wait_until(lambda: metrics(server)[series("dqbart_queue_size", model="summarizer")] >= QUEUE - 1)
        list(pool.map(tell, clients[2:], TEXTS * CLIENTS))
        for document in documents:
            document.result()
        alone = clients[0](MANY_WINDOWS, **OF_A_DOCUMENT)
    expected = {MANY_WINDOWS: alone, **{text: ("ok", summary) for text, summary in summaries.items()}}
    refused = [place for place, (text, outcome) in enumerate(told) if outcome != expected[text]]
    assert {told[place][1] for place in refused} == set(REFUSED)
    assert alone[0] == "ok"
    answered = [place for place, (text, _) in enumerate(told) if text == MANY_WINDOWS]
    assert max(refused) < min(answered)


def test_a_long_document_among_short_requests_is_answered_as_they_are(server: Server) -> None:
    wait_until(lambda: at_work(server) == 0)
    body = {"text": DOCUMENT, "truncation": "chunk", "parameters": {"max_new_tokens": 8}}

    def summarized() -> Any:
        result = (
            httpx.post(f"{server.url}/v1/summarize", json=body, timeout=PATIENCE).raise_for_status().json()["results"][0]
        )
        del result["timings"]
        return result

    alone = summarized()
    assert alone["truncation"]["windows"] > 10
    with load(server, clients=1) as asked:
        asked.wait_for_answers(4)
        before = asked.answered
        assert summarized() == alone
        assert asked.answered > before
        asked.wait_for_answers(4)
    assert asked.failures == []
