"""What the clients say when nothing answers, or something else does; real answers are in test_server.py."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from dqbart import run_command
from serving.clients.commands import INPUTS_PER_REQUEST, Answer, Summarize, Translate


class Server(HTTPServer):
    """Answers every request with `reply`, and keeps the bodies it was sent."""

    reply: tuple[int, bytes] = (200, b"")
    received: list[Any]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.received.append({"path": self.path, **body})
        status, reply = self.server.reply
        if status == 200 and not reply:
            texts = body.get("text", [body.get("question")])
            reply = json.dumps({"results": [{"text": text.upper()} for text in texts]}).encode()
        self.send_response(status)
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.received = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def test_arguments_are_sent_with_what_was_chosen_only(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    run_command(
        Translate, "translate", ["--url", url(server), "--source-language", "de", "--num-beams", "1", "eins", "zwei"]
    )
    assert server.received == [
        {"path": "/v1/translate", "text": ["eins", "zwei"], "source_language": "de", "parameters": {"num_beams": 1}}
    ]
    assert capsys.readouterr().out == "EINS\nZWEI\n"


@pytest.mark.parametrize(
    "text", ["Guten Morgen, Tom!", 'Er sagte "ja", ', "eins\n\nzwei", "[a]", "{", "null", "12", '"', "a\\", "'"]
)
def test_texts_are_sent_as_they_are(server: Server, text: str) -> None:
    run_command(Translate, "translate", ["--url", url(server), text, "drei"])
    assert server.received[0]["text"] == [text, "drei"]


def test_parameters_and_truncation_are_flags(server: Server) -> None:
    flags = ["--do-sample", "--top-k", "5", "--top-p", "0.9", "--temperature", "0.5", "--seed", "7"]
    run_command(Summarize, "summarize", ["--url", url(server), "--truncation", "chunk", *flags, "--no-early-stopping", "a"])
    parameters = {"do_sample": True, "top_k": 5, "top_p": 0.9, "temperature": 0.5, "seed": 7, "early_stopping": False}
    assert server.received == [
        {"path": "/v1/summarize", "text": ["a"], "truncation": "chunk", "parameters": parameters},
    ]


def test_sequences_are_a_line_each_with_their_scores(
    server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("a\n\nb"))
    sequences = [{"text": "one", "score": -0.25}, {"text": "two", "score": -1.5}]
    result = {"text": "one", "score": -0.25, "sequences": sequences}
    server.reply = (200, json.dumps({"results": [result, result]}).encode())
    flags = ["--num-return-sequences", "2", "--return-scores"]
    run_command(Summarize, "summarize", ["--url", url(server), *flags])
    lines = ["-0.2500\tone", "-1.5000\ttwo"]
    assert capsys.readouterr().out.split("\n") == [*lines, "", "", *lines, ""]
    run_command(Answer, "answer", ["--url", url(server), "--context", "c", "q"])
    assert capsys.readouterr().out.split("\n")[:2] == lines


def test_wrong_parameters_stop_before_anything_is_sent(capsys: pytest.CaptureFixture[str]) -> None:
    error = stopped(capsys, "--truncation", "start", "--top-p", "2", "text")
    assert "truncation = 'start': should be 'error', 'end' or 'chunk'" in error
    assert "top_p = '2': should be less than or equal to 1" in error


def test_lines_of_standard_input_are_sent_in_batches(
    server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"line {number}" for number in range(INPUTS_PER_REQUEST + 1)]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)))
    run_command(Summarize, "summarize", ["--url", url(server)])
    assert [len(body["text"]) for body in server.received] == [INPUTS_PER_REQUEST, 1]
    assert capsys.readouterr().out.splitlines() == [line.upper() for line in lines]


def test_a_context_is_read_from_standard_input(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("she wrote it"))
    run_command(Answer, "answer", ["--url", url(server), "--model", "m", "who?"])
    assert server.received == [
        {"path": "/v1/answer", "question": "who?", "context": "she wrote it", "model": "m", "parameters": {}}
    ]


def stopped(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as exit:
        run_command(Summarize, "summarize", list(arguments))
    assert exit.value.code == 2
    return capsys.readouterr().err


def test_no_server(capsys: pytest.CaptureFixture[str]) -> None:
    error = stopped(capsys, "--url", "http://127.0.0.1:9", "text")
    assert "dqbart summarize: error: no server answers at http://127.0.0.1:9" in error
    assert "dqbart serve" in error


@pytest.mark.parametrize("reply", [(200, b"<html>"), (200, b"{}"), (200, b"[]"), (500, b"{}"), (404, b"")])
def test_something_else_answers(server: Server, capsys: pytest.CaptureFixture[str], reply: tuple[int, bytes]) -> None:
    server.reply = reply if reply[1] else (reply[0], b"nothing")
    assert f"what answers at {url(server)} is no dqbart server" in stopped(capsys, "--url", url(server), "text")


def test_the_servers_message_is_shown(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.reply = (429, json.dumps({"error": {"code": "overloaded", "message": "come back later"}}).encode())
    assert stopped(capsys, "--url", url(server), "text") == "dqbart summarize: error: come back later\n"


def test_no_text(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(" \n"))
    assert "no text is given" in stopped(capsys)


def test_an_address_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert "dqbart summarize: error: " in stopped(capsys, "--url", "nonsense", "text")
