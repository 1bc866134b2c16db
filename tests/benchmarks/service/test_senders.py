"""The cheap clients against small real servers of either protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import grpc.aio
import pytest

from benchmarks.service.load import ANSWERED
from benchmarks.service.senders import GrpcSender, HttpSender, Target, parse_head

Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def target(protocol: str, address: str, *payloads: bytes, api_key: str | None = None) -> Target:
    return Target("grpc" if protocol == "grpc" else "http", address, "/a.B/Call", payloads, api_key)


async def with_http(handle: Handle, use: Callable[[str], Awaitable[None]]) -> None:
    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        await use(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")


def test_connections_are_kept_and_texts_sent_in_turns() -> None:
    connections: list[list[bytes]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bodies: list[bytes] = []
        connections.append(bodies)
        while head := await reader.read(65536):
            bodies.append(head)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    async def use(address: str) -> None:
        sender = HttpSender(target("http", address, b"one", b"two", api_key="secret"))
        assert [await sender.send(number) for number in range(3)] == [ANSWERED] * 3
        await sender.close()

    asyncio.run(with_http(handle, use))
    (bodies,) = connections
    assert [body.rpartition(b"\r\n\r\n")[2] for body in bodies] == [b"one", b"two", b"one"]
    assert bodies[0].startswith(b"POST /a.B/Call HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer secret\r\n" in bodies[0]


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (b"HTTP/1.1 429 Too Many\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", "429"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "IncompleteReadError"),
        (b"nonsense\r\n\r\n", "ValueError"),
        (b"", "IncompleteReadError"),
    ],
)
def test_what_is_no_answer_over_http(reply: bytes, code: str) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(reply)
        writer.close()

    async def use(address: str) -> None:
        sender = HttpSender(target("http", address, b"one"))
        assert [await sender.send(0), await sender.send(1)] == [code, code]
        await sender.close()

    asyncio.run(with_http(handle, use))


def test_nobody_listens() -> None:
    async def use() -> None:
        http, rpc = HttpSender(target("http", "127.0.0.1:9", b"")), GrpcSender(target("grpc", "127.0.0.1:9", b""))
        assert (await http.send(0), await rpc.send(0)) == ("ConnectionRefusedError", "UNAVAILABLE")
        await http.close()
        await rpc.close()

    asyncio.run(use())


def test_calls_carry_bytes_and_the_key() -> None:
    received: list[tuple[bytes, str | None]] = []

    async def call(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        received.append((request, dict(context.invocation_metadata()).get("authorization")))
        if request == b"bad":
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "bad")
        return b"answer"

    async def use() -> None:
        server = grpc.aio.server()
        handler = grpc.method_handlers_generic_handler("a.B", {"Call": grpc.unary_unary_rpc_method_handler(call)})
        server.add_generic_rpc_handlers((handler,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        sender = GrpcSender(target("grpc", f"127.0.0.1:{port}", b"good", b"bad", api_key="secret"))
        assert [await sender.send(0), await sender.send(1)] == [ANSWERED, "INVALID_ARGUMENT"]
        await sender.close()
        await server.stop(None)

    asyncio.run(use())
    assert received == [(b"good", "Bearer secret"), (b"bad", "Bearer secret")]


def test_heads() -> None:
    assert parse_head(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: B:c\r\n\r\n") == (
        200,
        {"content-length": "5", "x-a": "b:c"},
    )
