"""Log lines, for people or as JSON, with the id of the request that they are of.

The replicas write to their standard error, which Ray forwards to the server's, so that everything arrives in one place and
order. What is not written by a logger (Ray's other processes, the interpreter) is put into JSON lines there, where those are
asked for: every line of the server's output can then be read by a machine.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from dataclasses import dataclass
from typing import IO, Any, Literal

from serving.observability.requests import RequestRecord, current_request

LogFormat = Literal["console", "json"]

RAY_SERVE = "ray.serve"
RAY_LOG_VARIABLES = {
    # Ray would begin each line of a replica with the replica's name, in colour, and leave out lines that look alike.
    "RAY_DISABLE_WORKER_LOG_PREFIX": "1",
    "RAY_DEDUP_LOGS": "0",
}
"""What Ray reads when it is imported, so that lines arrive as they were written."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class LogSettings:
    """Filled from the settings."""

    log_format: LogFormat = "console"
    level: str = "warning"


def configure_logs(settings: LogSettings) -> None:
    """Have this process log to its standard error, Ray Serve's own messages too."""
    formatter = JsonFormatter() if settings.log_format == "json" else ConsoleFormatter()
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    # Other libraries say more than anyone wants to know below warning.
    root.setLevel(logging.WARNING)
    logging.getLogger("serving").setLevel(settings.level.upper())
    # It has a handler of its own, and one that writes to Ray's file, which stays as it is.
    for rays in logging.getLogger(RAY_SERVE).handlers:
        if type(rays) is logging.StreamHandler:
            rays.setFormatter(formatter)


def configure_output(settings: LogSettings) -> None:
    """Have the server's own process log, and bring into JSON what others print there."""
    if settings.log_format == "json":
        sys.stdout, sys.stderr = JsonLines(sys.stdout), JsonLines(sys.stderr)
    configure_logs(settings)


def log_request(record: RequestRecord, level: int = logging.INFO) -> None:
    """The line of a request that has ended."""
    if not _LOG.isEnabledFor(level):
        return
    fields = {
        "protocol": record.protocol,
        "call": record.call,
        "task": record.task,
        "model": record.model,
        "inputs": record.inputs,
        "source_tokens": record.source_tokens,
        "generated_tokens": record.generated_tokens,
        "outcome": record.outcome,
        "milliseconds": round(1000 * record.seconds, 1),
        "key": record.key_name,
    }
    _LOG.log(level, "request", extra={"fields": {name: value for name, value in fields.items() if value is not None}})


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, request_id, what `extra={"fields": …}` has, the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"time": _time(record.created), "level": record.levelname.lower(), "logger": record.name}
        return json.dumps({**line, **_told(record), **_fault(self, record)}, ensure_ascii=False, default=str)


class ConsoleFormatter(logging.Formatter):
    """`2026-01-31T12:00:00.000Z INFO message name=value …`, and the traceback on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        told = _told(record)
        message = told.pop("message")
        line = " ".join(
            [_time(record.created), record.levelname, message, *(f"{name}={value}" for name, value in told.items())]
        )
        return "\n".join([line, *_fault(self, record).values()])


class JsonLines:
    """A text stream whose lines are JSON: what is none is wrapped as the message of one."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._begun = threading.local()

    def write(self, text: str) -> int:
        # print writes a line's end by itself, and several threads print.
        *lines, self._begun.text = (getattr(self._begun, "text", "") + text).split("\n")
        whole = "".join(f"{_as_json(line)}\n" for line in lines if line.strip())
        if whole:
            self._stream.write(whole)
            self._stream.flush()
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _as_json(line: str) -> str:
    if line.startswith("{"):
        try:
            json.loads(line)
            return line
        except ValueError:
            pass
    told = {"time": _time(time.time()), "level": _level(line), "logger": "output", "message": line}
    return json.dumps(told, ensure_ascii=False)


def _level(line: str) -> str:
    """Of a line that begins with it, as Ray's do; information where it does not."""
    first = line.split(maxsplit=1)[0].strip(":,[]").lower()
    return first if first in ("debug", "info", "warning", "error", "critical") else "info"


def _told(record: logging.LogRecord) -> dict[str, Any]:
    request = current_request()
    of_request = {} if request is None else {"request_id": request.request_id}
    return {"message": record.getMessage(), **of_request, **getattr(record, "fields", {})}


def _fault(formatter: logging.Formatter, record: logging.LogRecord) -> dict[str, str]:
    if not record.exc_info or record.exc_info[0] is None:
        return {}
    return {"traceback": formatter.formatException(record.exc_info)}


def _time(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1000):03d}Z"
