"""What is known of the request that is being answered, for its log lines and its span: names and numbers, never texts.

The protocol's guard begins a record, and whoever learns something of the request on its way adds it. It is found through a
context variable, so that it need not be handed through everything in between, and so that each log line can have the
request's id; threads and tasks that work for the request inherit it.
"""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter, time_ns

from quant.card import Task
from serving.engine.request import Result
from serving.service.errors import ErrorCode, ServiceError, shown

REQUEST_ID_HEADER = "x-request-id"
TIMEOUT_HEADER = "x-request-timeout-seconds"
HIDDEN_TIMEOUT_HEADER = "x-dqbart-request-timeout-seconds"
"""The same, on its way through Ray."""

REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
"""What a client may call its request: it is repeated in headers and logs."""


@dataclass(frozen=True)
class WindowRecord:
    """A source that the engine answered."""

    ended_ns: int
    """Since the epoch."""
    source_tokens: int
    generated_tokens: int
    queue_seconds: float
    encode_seconds: float
    decode_seconds: float


@dataclass
class RequestRecord:
    """One request. The guard fills the first group of fields, the service the second one."""

    request_id: str
    protocol: str
    call: str
    """The path of a route, or the method; `unknown` for a path that is none, because a client could write texts there."""
    text_errors: bool = False
    """Whether its client shows an error that is a text, and no other."""
    time_limit: float | None = None
    """Seconds that the client gives it; None where it names none."""
    key_name: str | None = None
    started: float = field(default_factory=perf_counter)
    started_ns: int = field(default_factory=time_ns)

    task: Task | None = None
    model: str | None = None
    inputs: int = 0
    outcome: str | None = None
    """ok, cancelled, or an error's code; None where the request never came to the service."""
    windows: list[WindowRecord] = field(default_factory=list)

    @property
    def source_tokens(self) -> int:
        return sum(window.source_tokens for window in self.windows)

    @property
    def generated_tokens(self) -> int:
        return sum(window.generated_tokens for window in self.windows)

    @property
    def seconds(self) -> float:
        """Since its arrival."""
        return perf_counter() - self.started

    def seconds_left(self, servers_limit: float) -> float:
        """How long it may still take, by the client's limit or the server's; 0 or less when it is late already."""
        return min(servers_limit, self.time_limit or servers_limit) - self.seconds

    def add_window(self, source_tokens: int, generated: Result) -> None:
        """Note a source that the engine has just answered."""
        tokens = sum(len(sequence.token_ids) for sequence in generated.sequences)
        times = (generated.queue_seconds, generated.encode_seconds, generated.decode_seconds)
        self.windows.append(WindowRecord(time_ns(), source_tokens, tokens, *times))


_CURRENT: ContextVar[RequestRecord | None] = ContextVar("dqbart_request", default=None)


def acceptable_id(given: str | None) -> str:
    """The client's name for its request where it may have that, else one of our own making."""
    return given if given is not None and REQUEST_ID.fullmatch(given) else secrets.token_hex(16)


def begin_request(request_id: str | None, protocol: str, call: str) -> RequestRecord:
    """Make a record the current one. It is never unset: each request has a context of its own, which ends with it."""
    record = RequestRecord(acceptable_id(request_id), protocol, call)
    _CURRENT.set(record)
    return record


def current_request() -> RequestRecord | None:
    return _CURRENT.get()


def read_time_limit(given: str | None) -> float | None:
    """The client's time limit in seconds. Raises ServiceError (bad_parameter) for what is no number above 0."""
    if given is None:
        return None
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ServiceError(
            ErrorCode.BAD_PARAMETER, f"{TIMEOUT_HEADER}: {shown(given)}: seconds above 0 are expected", TIMEOUT_HEADER
        )
    return seconds
