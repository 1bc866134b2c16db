"""Runs `dqbart bench holds`: how long one request, the worst that there is, keeps a replica's loop from all others.

A replica's application is asked in this process, without Ray and without a network, by an engine that answers at once. A
task on the same loop wakes every millisecond and notes by how much it was late: whatever held the loop, or Python's lock,
shows there. What others on the machine take is no hold: a beat is late by no more than the processor time that this process
had meanwhile, and of several rounds the least counts.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from types import SimpleNamespace
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.commands import shipped_models
from benchmarks.service.commands import BenchHolds
from benchmarks.service.hostile import Sent, sent
from serving.engine.request import GeneratedSequence, Request, Result
from serving.http.routes import build_app
from serving.observability.metrics import Metrics
from serving.rpc.calls import Rpc
from serving.rpc.servicers import add_seq2seq
from serving.server.settings import Serve
from serving.service.gate import Gate
from serving.service.models import Models, ServedModel, check_model, default_models
from serving.service.service import Service

BEAT_SECONDS = 0.001
PART = 64 << 10
"""Bytes that an HTTP server hands over at a time."""


class Instant:
    """An engine that has every output already."""

    alive = True

    async def generate(self, request: Request) -> Result:
        await asyncio.sleep(0)
        asked = request.parameters
        ids = tuple(20 + place % 100 for place in range(asked.max_new_tokens))
        scores = (-0.5,) * len(ids) if asked.return_scores else None
        output = GeneratedSequence(ids, "length", -0.5 if asked.return_scores else None, scores)
        return Result((output,) * asked.num_return_sequences, 0.0, 0.0, 0.0)


@dataclass
class Held:
    """What one request did."""

    sent: Sent
    seconds: float
    """The longest that the loop was held."""
    took: float
    outcome: str


class Replica:
    """The application with both its interfaces."""

    def __init__(self, models: list[Path], settings: Serve) -> None:
        checked = [check_model(folder.name, folder, settings.max_batch_rows) for folder in models]
        served = [ServedModel(model, model.codec(), Instant()) for model in checked]  # type: ignore[arg-type]
        service = Service(Models(served, default_models(checked, {})), settings.limits, Metrics())
        gate = Gate(settings.gate)
        self.tokens = min(model.defaults.most_new_tokens for model in checked)
        self._app = build_app(service, gate)
        rpc = Rpc(service, gate)
        self._handlers: dict[str, Any] = {}
        servicer = SimpleNamespace(
            Translate=rpc.translate,
            Summarize=rpc.summarize,
            Answer=rpc.answer,
            TranslateStream=rpc.translate_stream,
            SummarizeStream=rpc.summarize_stream,
            AnswerStream=rpc.answer_stream,
            ListModels=rpc.list_models,
        )
        add_seq2seq(servicer, self)

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Those that come by name are the same."""

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        self._handlers = handlers

    async def ask(self, request: Sent) -> str:
        """The status of the response."""
        return await (self._call(request) if request.grpc else self._post(request))

    async def _post(self, request: Sent) -> str:
        content = request.content
        parts = [content[start : start + PART] for start in range(0, len(content), PART)]
        headers = {"content-type": request.kind, "content-length": str(len(content))}
        scope = {
            "type": "http",
            "method": "POST",
            "path": request.target,
            "raw_path": request.target.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
        status = ""

        async def receive() -> dict[str, Any]:
            await asyncio.sleep(0)
            if not parts:
                await asyncio.Event().wait()
            return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

        async def send(message: dict[str, Any]) -> None:
            nonlocal status
            status = status or str(message["status"])
            await asyncio.sleep(0)

        await self._app(scope, receive, send)  # type: ignore[arg-type]
        return status

    async def _call(self, request: Sent) -> str:
        handler = self._handlers[request.target]
        context = _Context()
        message = handler.request_deserializer(request.content)
        answer = await handler.unary_unary(message, context)
        answer.SerializeToString()
        return getattr(context.code(), "name", "OK")


class _Context:
    """What Ray gives a call beside its message."""

    def __init__(self) -> None:
        self._code: Any = None
        self._trailers: Any = ()

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return []

    def trailing_metadata(self) -> Any:
        return self._trailers

    def set_trailing_metadata(self, trailers: Any) -> None:
        self._trailers = trailers

    def set_code(self, code: Any) -> None:
        self._code = code

    def code(self) -> Any:
        return self._code

    def set_details(self, details: str) -> None:
        pass


def run_bench_holds(settings: BenchHolds) -> int:
    """Returns the exit code: 0 when nothing held the loop for longer than is allowed."""
    console = Console(width=None if sys.stdout.isatty() else 140)
    served = Serve()
    replica = Replica(settings.models or shipped_models(), served)
    # As Ray does in a replica once it has started.
    gc.collect()
    gc.freeze()
    most = served.max_payload_bytes - 100, served.max_inputs, served.max_source_characters, replica.tokens
    requests = [each for each in sent(*most) if settings.only is None or settings.only in f"{each.target} {each.name}"]
    found = [asyncio.run(_least(replica, request, settings.rounds, console)) for request in requests]
    table = Table("to", "what", "held, ms", "took, ms", "outcome")
    for held in sorted(found, key=lambda each: -each.seconds):
        took = (f"{1000 * held.seconds:.0f}", f"{1000 * held.took:.0f}")
        table.add_row(held.sent.target, held.sent.name, *took, held.outcome)
    console.print(table)
    if settings.json_file is not None:
        figures = [
            {
                "to": each.sent.target,
                "what": each.sent.name,
                "held": each.seconds,
                "took": each.took,
                "outcome": each.outcome,
            }
            for each in found
        ]
        settings.json_file.write_text(json.dumps(figures, indent=2) + "\n")
    return 1 if any(1000 * each.seconds > settings.most for each in found) else 0


async def _least(replica: Replica, request: Sent, rounds: int, console: Console) -> Held:
    found = []
    for _ in range(rounds):
        async with _watched() as late:
            started = perf_counter()
            outcome = await replica.ask(request)
            took = perf_counter() - started
        found.append(Held(request, max(late), took, outcome))
    held = min(found, key=lambda each: each.seconds)
    console.print(f"{1000 * held.seconds:6.0f} ms  {request.target}  {request.name}: {held.outcome}", highlight=False)
    return held


@asynccontextmanager
async def _watched() -> AsyncIterator[list[float]]:
    """By how much each beat came late."""
    late = [0.0]

    async def beat() -> None:
        while True:
            due, used = perf_counter() + BEAT_SECONDS, process_time()
            await asyncio.sleep(BEAT_SECONDS)
            late.append(min(perf_counter() - due, process_time() - used))

    beating = asyncio.create_task(beat())
    await asyncio.sleep(0.01)
    try:
        yield late
        await asyncio.sleep(0.01)
    finally:
        beating.cancel()
