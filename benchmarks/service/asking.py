"""Asks what a soak draws, over both protocols with ordinary clients, and says where an answer is not as it should be."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import grpc.aio
import httpx

from benchmarks.service.server_process import Running
from benchmarks.service.traffic import Asked
from benchmarks.service.works import PATHS
from protos.dqbart.v1 import seq2seq_pb2_grpc
from serving.clients.client import CALLS
from serving.rpc.statuses import GRPC_STATUS
from serving.service.errors import HTTP_STATUS

DEADLINE = 110.0
"""Seconds; the server's own limit is 120."""


class Refused(Exception):
    """An answer that is an error; `code` is an HTTP status or the name of a gRPC status."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Asking:
    """Counts what becomes of requests, and finds what should not have happened."""

    def __init__(self, server: Running) -> None:
        self.counts: Counter[tuple[str, str, str]] = Counter()
        """Kind, protocol, end → requests."""
        self.failures: Counter[str] = Counter()
        """What should not have happened → how often."""
        self._answers: dict[str, list[str]] = {}
        self._http = httpx.AsyncClient(base_url=f"http://{server.http}", timeout=DEADLINE)
        self._channel = grpc.aio.insecure_channel(server.grpc)
        self._stub: Any = seq2seq_pb2_grpc.Seq2SeqStub(self._channel)

    async def close(self) -> None:
        await self._http.aclose()
        await self._channel.close()

    async def ask(self, asked: Asked) -> None:
        """Send one request to its end, or as far as it is meant to go."""
        task = asyncio.create_task(self._texts(asked))
        if asked.cancel_after is not None:
            await asyncio.wait([task], timeout=asked.cancel_after)
            task.cancel()
        try:
            end = self._check(asked, await task)
        except Refused as refused:
            end = refused.code
            if refused.code != _expected(asked):
                self._fail(asked, refused.code)
        except asyncio.CancelledError:
            if asked.cancel_after is None:
                raise
            end = "cancelled"
        except (httpx.HTTPError, ValueError, KeyError) as error:
            end = type(error).__name__
            self._fail(asked, end)
        self.counts[asked.kind, asked.protocol, end] += 1

    def _check(self, asked: Asked, texts: list[str]) -> str:
        if asked.expected is not None:
            self._fail(asked, f"answered, and {asked.expected} was to be said")
        elif self._answers.setdefault(asked.key, texts) != texts:
            self._fail(asked, "another answer than before to the same request")
        return "answered"

    def _fail(self, asked: Asked, what: str) -> None:
        self.failures[f"{asked.kind} over {asked.protocol}: {what}"] += 1

    async def _texts(self, asked: Asked) -> list[str]:
        """The answers, in the order of the inputs. Raises Refused, httpx.HTTPError."""
        try:
            return await (self._over_http(asked) if asked.protocol == "http" else self._over_grpc(asked))
        except grpc.aio.AioRpcError as error:
            raise Refused(error.code().name) from None

    async def _over_http(self, asked: Asked) -> list[str]:
        path = PATHS[asked.task][0]
        if not asked.streamed:
            response = await self._http.post(path, json=asked.body)
            if response.status_code != 200:
                raise Refused(str(response.status_code))
            return [result["text"] for result in response.json()["results"]]
        async with self._http.stream("POST", path, json={**asked.body, "stream": True}) as streamed:
            if streamed.status_code != 200:
                raise Refused(str(streamed.status_code))
            results, event = {}, ""
            async for line in streamed.aiter_lines():
                name, _, value = line.partition(": ")
                event = value if name == "event" else event
                if name == "data" and event == "error":
                    raise Refused(json.loads(value)["error"]["code"])
                if name == "data" and event == "result":
                    data = json.loads(value)
                    results[data["input"]] = data["result"]["text"]
        if event != "done":
            raise ValueError("a stream without its end")
        return [results[place] for place in sorted(results)]

    async def _over_grpc(self, asked: Asked) -> list[str]:
        message = asked.message()
        name = CALLS[type(message)]
        if not asked.streamed:
            return [result.text for result in (await getattr(self._stub, name)(message, timeout=DEADLINE)).results]
        results = {}
        async for event in getattr(self._stub, f"{name}Stream")(message, timeout=DEADLINE):
            if event.HasField("result"):
                results[event.input] = event.result.text
        return [results[place] for place in sorted(results)]


def _expected(asked: Asked) -> str | None:
    if asked.expected is None:
        return None
    if asked.protocol == "http":
        return str(HTTP_STATUS[asked.expected].value)
    name: str = GRPC_STATUS[asked.expected].name
    return name
