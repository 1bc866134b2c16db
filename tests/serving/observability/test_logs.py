from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from serving.observability.logs import ConsoleFormatter, JsonFormatter, JsonLines, LogSettings, configure_logs, log_request
from serving.observability.requests import begin_request


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What is logged as JSON at info; the loggers are as they were after the test."""
    root, ours, rays = logging.getLogger(), logging.getLogger("serving"), logging.getLogger("ray.serve")
    kept = root.handlers, root.level, ours.level, [(handler, handler.formatter) for handler in rays.handlers]
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    configure_logs(LogSettings("json", "info"))
    yield sys.stderr  # type: ignore[misc]
    root.handlers, root.level, ours.level = kept[:3]
    for handler, formatter in kept[3]:
        handler.setFormatter(formatter)


def lines(stream: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def record(message: str, **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("serving.x", logging.INFO, "", 0, message, None, None)
    made.__dict__.update(extra)
    return made


def test_the_line_of_a_request_has_names_and_numbers(written: io.StringIO) -> None:
    request = begin_request("my-id", "http", "/v1/translate")
    request.task, request.model, request.inputs, request.outcome, request.key_name = "translation", "m", 2, "ok", "alice"
    log_request(request)
    (line,) = lines(written)
    assert line.pop("milliseconds") >= 0
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "serving.observability.logs",
        "message": "request",
        "request_id": "my-id",
        "protocol": "http",
        "call": "/v1/translate",
        "task": "translation",
        "model": "m",
        "inputs": 2,
        "source_tokens": 0,
        "generated_tokens": 0,
        "outcome": "ok",
        "key": "alice",
    }


def test_every_line_of_a_request_has_its_id_and_its_fault(written: io.StringIO) -> None:
    begin_request("my-id", "grpc", "x")
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        logging.getLogger("serving.service.service").exception("a request failed")
    (line,) = lines(written)
    assert (line["request_id"], line["level"], line["message"]) == ("my-id", "error", "a request failed")
    assert "RuntimeError: broken" in line["traceback"]


def test_other_libraries_are_heard_from_warning_on(written: io.StringIO) -> None:
    logging.getLogger("httpx").info("asked")
    logging.getLogger("httpx").warning("slow")
    assert [line["message"] for line in lines(written)] == ["slow"]


def test_a_console_line_can_be_read() -> None:
    formatted = ConsoleFormatter().format(record("request", fields={"task": "translation", "inputs": 2}))
    assert formatted.partition(" ")[2].startswith("INFO request ")
    assert formatted.endswith("task=translation inputs=2")


def test_line_ends_in_a_message_do_not_make_two_json_lines() -> None:
    assert "\n" not in JsonFormatter().format(record("a\nb"))


def test_what_others_print_becomes_json_and_json_stays() -> None:
    stream = io.StringIO()
    output = JsonLines(stream)
    print("WARNING 2026-01-31 proxy is slow", file=output)
    print('{"message": "as it was"}', file=output)
    print("{no json", file=output)
    print("half a ", end="", file=output)
    print("line\n\n", file=output)
    told = lines(stream)
    assert [line["message"] for line in told] == [
        "WARNING 2026-01-31 proxy is slow",
        "as it was",
        "{no json",
        "half a line",
    ]
    assert [line.get("level") for line in told] == ["warning", None, "info", "info"]
