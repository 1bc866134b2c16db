"""Clients of a machine, over both protocols, that compare every answer with the one that was expected."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx

from protos.dqbart.v1 import seq2seq_pb2 as pb
from protos.dqbart.v1 import seq2seq_pb2_grpc
from tests.cluster.nodes import Machine

SECONDS = 120
TOKENS = 60
TEXTS = (
    "Guten Morgen! Ich hätte gern eine Tasse Kaffee.",
    "Wo ist der Bahnhof, von dem der letzte Zug nach Berlin fährt?",
    "Sie hat das Buch gelesen, das ich ihr gegeben habe.",
    "Wir wissen nicht, ob es morgen regnen wird.",
)

Answer = tuple[str, tuple[tuple[int, float], ...]]
"""The text, and of each token its id and log-probability."""


@dataclass(frozen=True)
class Question:
    """Long in being answered, so that much is in flight at any time."""

    text: str
    beams: int
    tokens: int = TOKENS

    @property
    def parameters(self) -> dict[str, Any]:
        lengths = {"min_new_tokens": self.tokens, "max_new_tokens": self.tokens}
        return {**lengths, "num_beams": self.beams, "return_scores": True}


QUESTIONS = tuple(Question(text, beams) for text in TEXTS for beams in (1, 4))


class Client:
    """One that keeps its connections."""

    streams = False

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._http = httpx.Client(timeout=SECONDS)
        self._channel = grpc.insecure_channel(machine.grpc_address)
        self._stub: Any = seq2seq_pb2_grpc.Seq2SeqStub(self._channel)

    def close(self) -> None:
        self._http.close()
        self._channel.close()

    def ask(self, question: Question) -> Answer:
        """Raises httpx.HTTPError, grpc.RpcError."""
        raise NotImplementedError

    def _body(self, question: Question) -> dict[str, Any]:
        body = {"text": question.text, "source_language": "de", "parameters": question.parameters, "stream": self.streams}
        return {"json": body}

    def _message(self, question: Question) -> pb.TranslateRequest:
        parameters = pb.GenerationParameters(**question.parameters)
        return pb.TranslateRequest(texts=[question.text], source_language="de", parameters=parameters)


class OverHttp(Client):
    def ask(self, question: Question) -> Answer:
        response = self._http.post(f"{self.machine.url()}/v1/translate", **self._body(question))
        response.raise_for_status()
        return _from_json(response.json()["results"][0])


class OverGrpc(Client):
    def ask(self, question: Question) -> Answer:
        return _from_message(self._stub.Translate(self._message(question), timeout=SECONDS).results[0])


class StreamOverHttp(Client):
    streams = True

    def ask(self, question: Question) -> Answer:
        with self._http.stream("POST", f"{self.machine.url()}/v1/translate", **self._body(question)) as response:
            response.raise_for_status()
            lines = list(response.iter_lines())
        events = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
        data = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
        if not events or events[-1] != "done":
            raise httpx.ReadError(f"the stream ended with {events[-1:]}")
        return _from_json(data[events.index("result")]["result"])


class StreamOverGrpc(Client):
    streams = True

    def ask(self, question: Question) -> Answer:
        *_, last = self._stub.TranslateStream(self._message(question), timeout=SECONDS)
        return _from_message(last.result)


CLIENTS = (OverHttp, OverGrpc, StreamOverHttp, StreamOverGrpc)


@dataclass(frozen=True)
class Ended:
    """A request that has ended; `fault` is empty for one that was answered as expected."""

    seconds: float
    streamed: bool
    fault: str


@dataclass
class Load:
    """What has been asked so far."""

    ended: list[Ended] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def answered(self) -> int:
        return sum(not each.fault for each in self.ended)

    @property
    def faults(self) -> list[Ended]:
        return [each for each in self.ended if each.fault]

    @property
    def lost(self) -> list[Ended]:
        """Faults that a client who did not stream has seen."""
        return [each for each in self.faults if not each.streamed]

    def wait_for_answers(self, count: int) -> None:
        """Return when so many more requests were answered."""
        wanted, deadline = self.answered + count, time.monotonic() + SECONDS
        while self.answered < wanted:
            assert time.monotonic() < deadline, f"only {self.answered} of {wanted} answers; {self.faults[-3:]}"
            time.sleep(0.01)

    def __str__(self) -> str:
        slowest = max(each.seconds for each in self.ended)
        return f"{len(self.ended)} requests, {len(self.faults)} streams cut off, the slowest took {slowest:.1f} s"


@contextmanager
def load(machine: Machine, expected: Mapping[Question, Answer], each: int = 3) -> Iterator[Load]:
    """So many clients of each kind, all the time until the end of the block."""
    running = Load()
    threads = [
        threading.Thread(target=_repeat, args=(running, kind, machine, expected, number))
        for kind in CLIENTS
        for number in range(each)
    ]
    for thread in threads:
        thread.start()
    try:
        yield running
    finally:
        running.stopped.set()
        for thread in threads:
            thread.join()


def _repeat(
    running: Load, kind: Callable[[Machine], Client], machine: Machine, expected: Mapping[Question, Answer], number: int
) -> None:
    client = kind(machine)
    while not running.stopped.is_set():
        question = QUESTIONS[number % len(QUESTIONS)]
        number += 1
        started, fault = time.monotonic(), ""
        try:
            if client.ask(question) != expected[question]:
                fault = "other tokens"
        except grpc.RpcError as error:
            fault = f"{error.code()}: {error.details()}"
        except httpx.HTTPError as error:
            fault = repr(error)
        running.ended.append(Ended(time.monotonic() - started, client.streams, fault))
    client.close()


def _from_json(result: dict[str, Any]) -> Answer:
    return result["text"], tuple((token["id"], token["log_probability"]) for token in result["tokens"])


def _from_message(result: pb.Result) -> Answer:
    return result.text, tuple((token.id, token.log_probability) for token in result.tokens)
