"""What a replica and the process of its engines tell each other, as MessagePack, each message behind its length.

Objects go as their fields, and nothing is executed: no pickle. Several engines share a connection; each has a number, which
the replica gives, as it does the ids of requests.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from serving.engine import errors
from serving.engine.engine import Emitted, EngineStats, Event, Finished
from serving.engine.port import Step
from serving.engine.request import Request, Result
from serving.engine.settings import EngineSettings, RunnerName

_LENGTH = struct.Struct("<I")


class Open(msgspec.Struct, tag=True, frozen=True):
    """Load an artifact; answered by Opened or NotOpened."""

    engine: int
    folder: str
    settings: EngineSettings
    runner: RunnerName


class Submit(msgspec.Struct, tag=True, frozen=True):
    """Generate; a fault in it is told as its end."""

    engine: int
    request_id: int
    request: Request


class Cancel(msgspec.Struct, tag=True, frozen=True):
    """Drop a request by the next step."""

    engine: int
    request_id: int


class Close(msgspec.Struct, tag=True, frozen=True):
    """Stop after the step in progress; answered by Closed."""

    engine: int


class Opened(msgspec.Struct, tag=True, frozen=True):
    """An engine takes requests."""

    engine: int


class NotOpened(msgspec.Struct, tag=True, frozen=True):
    """An artifact could not be loaded."""

    engine: int
    reason: str


class Failure(msgspec.Struct, frozen=True):
    """The end of a request by a fault; `kind` is the name of a class in serving/engine/errors.py."""

    request_id: int
    kind: str
    message: str


class Told(msgspec.Struct, tag=True, frozen=True):
    """What came of an engine's last steps, what the engine has to do now, and the events."""

    engine: int
    steps: list[Step]
    stats: EngineStats
    emitted: list[Emitted]
    finished: list[tuple[int, Result]]
    failed: list[Failure]

    def events(self) -> list[Event]:
        """Of each request in their order."""
        ends = [Finished(request_id, result) for request_id, result in self.finished]
        faults = [Finished(each.request_id, getattr(errors, each.kind)(each.message)) for each in self.failed]
        return [*self.emitted, *ends, *faults]


class Closed(msgspec.Struct, tag=True, frozen=True):
    """An engine has stopped, for the reason given; nothing more is told of it."""

    engine: int
    fault: str


class Ticked(msgspec.Struct, tag=True, frozen=True):
    """The process runs Python; said now and then, whatever it computes."""


class Overdue(msgspec.Struct, tag=True, frozen=True):
    """A step of an engine does not end; nothing more is told of any engine."""

    engine: int
    seconds: float


ToEngines = Open | Submit | Cancel | Close
FromEngines = Opened | NotOpened | Told | Closed | Ticked | Overdue

encode = msgspec.msgpack.Encoder().encode


def told(engine: int, events: Sequence[Event], steps: list[Step], stats: EngineStats) -> Told:
    """Events as they are sent."""
    message = Told(engine, steps, stats, [], [], [])
    for event in events:
        if isinstance(event, Emitted):
            message.emitted.append(event)
        elif isinstance(event.outcome, Result):
            message.finished.append((event.request_id, event.outcome))
        else:
            message.failed.append(Failure(event.request_id, type(event.outcome).__name__, str(event.outcome)))
    return message


def send(connection: socket.socket, message: ToEngines | FromEngines) -> None:
    """One message, whole. Raises OSError when the other side has gone."""
    body = encode(message)
    connection.sendall(_LENGTH.pack(len(body)) + body)


def received(connection: socket.socket, kinds: Any) -> Iterator[Any]:
    """Messages of the union `kinds`, until the other side has gone."""
    decode = msgspec.msgpack.Decoder(kinds).decode
    # A reset: the other side has gone with something that it had not read.
    with connection.makefile("rb") as stream, suppress(ConnectionResetError):
        while len(length := stream.read(_LENGTH.size)) == _LENGTH.size:
            (size,) = _LENGTH.unpack(length)
            body = stream.read(size)
            if len(body) < size:
                return
            yield decode(body)
