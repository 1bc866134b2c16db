"""The cheapest clients that can be written, for the client's own cost must not hide the server's.

HTTP is spoken over plain sockets (a request takes 0.1 ms here, httpx a millisecond), and what gRPC carries is left as bytes.
Connections are kept open: HTTP has as many as requests are on their way, gRPC a handful of channels.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Literal, NamedTuple

from benchmarks.service.load import ANSWERED, Load, Outcome, Sender, drive

Protocol = Literal["http", "grpc"]
GRPC_CHANNELS = 4
DEADLINE = 60.0


class Target(NamedTuple):
    """Where to send what; small enough to be sent to another process."""

    protocol: Protocol
    address: str
    """HOST:PORT."""
    path: str
    payloads: tuple[bytes, ...]
    api_key: str | None = None

    def sender(self) -> Sender:
        return HttpSender(self) if self.protocol == "http" else GrpcSender(self)


def run_load(target: Target, load: Load) -> Outcome:
    """Send a load from this process."""

    async def run() -> Outcome:
        return await drive(target.sender(), load)

    return asyncio.run(run())


class HttpSender:
    """HTTP/1.1, one request at a time on each connection."""

    def __init__(self, target: Target) -> None:
        self._host, _, port = target.address.rpartition(":")
        self._port = int(port)
        key = f"Authorization: Bearer {target.api_key}\r\n" if target.api_key else ""
        head = f"POST {target.path} HTTP/1.1\r\nHost: {target.address}\r\nContent-Type: application/json\r\n{key}"
        self._requests = [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in target.payloads]
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def send(self, number: int) -> str:
        try:
            reader, writer = await self._connection()
        except OSError as error:
            return type(error).__name__
        try:
            writer.write(self._requests[number % len(self._requests)])
            status, headers = parse_head(await reader.readuntil(b"\r\n\r\n"))
            await reader.readexactly(int(headers["content-length"]))
        except (OSError, EOFError, KeyError, ValueError) as error:
            writer.close()
            return type(error).__name__
        except asyncio.CancelledError:
            writer.close()
            raise
        if headers.get("connection") == "close":
            writer.close()
        else:
            self._idle.append((reader, writer))
        return ANSWERED if status == HTTPStatus.OK else str(status)

    async def close(self) -> None:
        for _, writer in self._idle:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for _, writer in self._idle), return_exceptions=True)

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection(self._host, self._port)


def parse_head(head: bytes) -> tuple[int, Mapping[str, str]]:
    """Status and headers of an HTTP/1.1 response, names in lower case. Raises ValueError."""
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    return int(first.partition(" ")[2][:3]), {name.lower(): value.strip().lower() for name, _, value in pairs}


class GrpcSender:
    """Unary calls of bytes."""

    def __init__(self, target: Target) -> None:
        import grpc.aio

        # Channels of the same address would share one connection.
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channels = [grpc.aio.insecure_channel(target.address, options) for _ in range(GRPC_CHANNELS)]
        self._calls: Sequence[Any] = [channel.unary_unary(target.path) for channel in self._channels]
        self._metadata = (("authorization", f"Bearer {target.api_key}"),) if target.api_key else None
        self._payloads = target.payloads
        self._error: Any = grpc.aio.AioRpcError

    async def send(self, number: int) -> str:
        call = self._calls[number % len(self._calls)]
        payload = self._payloads[number % len(self._payloads)]
        try:
            await call(payload, timeout=DEADLINE, metadata=self._metadata)
        except self._error as error:
            name: str = error.code().name
            return name
        return ANSWERED

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()
