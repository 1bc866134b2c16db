"""The commands and the Python client against a real server, over gRPC, each command in a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from protos.dqbart.v1 import seq2seq_pb2 as pb
from serving.clients.client import Client, ServerError
from tests.serving.clients.relay import relay
from tests.serving.server.running import ROOT, Server, command, start_server


@pytest.fixture(scope="module")
def server(artifacts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    arguments = ("--max-inputs", "4", "--max-queued-requests", "4", "--max-source-characters", "400")
    with start_server(tmp_path_factory.mktemp("server"), list(artifacts.values()), *arguments) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.grpc_address) as client:
        yield client


def run(server: Server, name: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return command(name, "--server", server.grpc_address, "--inputs-per-request", "4", *arguments, stdin=stdin)


def test_lines_are_answered_in_order_and_empty_ones_kept(server: Server, client: Client) -> None:
    lines = "guten morgen welt\n\nwie geht es dir\n"
    first, second = client.translate(["guten morgen welt", "wie geht es dir"], "de")
    answer = run(server, "translate", "--source-language", "de", stdin=lines)
    assert (answer.returncode, answer.stdout.split("\n")) == (0, [first.text, "", second.text, ""])


def test_the_servers_message_is_shown(server: Server) -> None:
    refused = run(server, "summarize", "--model", "translator", "good morning")
    assert refused.returncode == 2
    assert "translator does translation, not summarization" in refused.stderr


def test_lines_that_are_too_long(server: Server) -> None:
    long = "how are you " * 20
    lines = f"good\nmorning\n{long}\nworld\n"
    stopped = run(server, "summarize", stdin=lines)
    assert (stopped.returncode, stopped.stdout) == (2, "")
    assert "dqbart summarize: error: line 3: " in stopped.stderr
    skipped = run(server, "summarize", "--on-error", "skip", stdin=lines)
    assert [bool(line) for line in skipped.stdout.split("\n")[:4]] == [True, True, False, True]
    assert (skipped.returncode, "1 of 4 inputs were refused" in skipped.stderr) == (0, True)
    cut = run(server, "summarize", "--truncation", "end", stdin=lines)
    assert (cut.returncode, all(cut.stdout.split("\n")[:4])) == (0, True)


def test_more_than_the_server_takes_at_a_time_is_answered(server: Server, client: Client, tmp_path: Path) -> None:
    file, output = tmp_path / "source.txt", tmp_path / "out.txt"
    texts = ["good morning world", "how are you", "who wrote the book", "she wrote it"]
    file.write_text("".join(f"{text}\n" for text in texts * 10))
    alone = [result.text for result in client.summarize(texts)]
    done = run(server, "summarize", "--in-flight", "8", "--input", str(file), "--output", str(output))
    assert (done.returncode, done.stderr) == (0, "")
    assert output.read_text() == "".join(f"{text}\n" for text in alone * 10)


def test_an_interrupted_run_is_continued(server: Server, client: Client, tmp_path: Path) -> None:
    file, output = tmp_path / "source.txt", tmp_path / "out.txt"
    file.write_text("good morning world\n" * 2000)
    (expected,) = client.summarize("good morning world")
    arguments = ["summarize", "--inputs-per-request", "1", "--in-flight", "1", "--input", str(file), "--output", str(output)]
    # Some 100 answers come through: the run cannot be over before it is interrupted.
    with relay(server.grpc_address, 20_000) as address:
        asking = [sys.executable, "-m", "dqbart", *arguments, "--server", address]
        process = subprocess.Popen(asking, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        while not output.exists() or not output.stat().st_size:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate()
    arguments += ["--server", server.grpc_address]
    assert (process.returncode, error) == (130, f"interrupted; the same command continues {output}\n")
    lines = output.read_text().splitlines()
    assert 0 < len(lines) < 2000
    assert set(lines) == {expected.text}
    changed = command(*arguments, "--num-beams", "1")
    assert changed.returncode == 2
    assert "num_beams was None, is 1" in changed.stderr
    output.write_text(f"{expected.text}\n" * 1999 + "half a li")
    assert command(*arguments).returncode == 0
    assert output.read_text() == f"{expected.text}\n" * 2000


def test_questions_from_arguments_and_json_lines(server: Server, client: Client, tmp_path: Path) -> None:
    passages = ("--context", "she", "--context", "how")
    answer = run(server, "answer", "who", *passages)
    expected = client.answer("who", ["she", "how"])
    assert answer.stdout == f"{expected.text}\n"
    file = tmp_path / "questions.jsonl"
    file.write_text(f"{json.dumps({'question': 'who', 'context': ['she', 'how']})}\n" * 3)
    answers = run(server, "answer", "--input", str(file), "--json-lines")
    assert [json.loads(line)["text"] for line in answers.stdout.splitlines()] == [expected.text] * 3


def test_a_stream_prints_what_is_answered_otherwise(server: Server, client: Client) -> None:
    parameters = ("--num-beams", "1", "good morning world")
    assert run(server, "summarize", "--stream", *parameters).stdout == run(server, "summarize", *parameters).stdout
    request = pb.SummarizeRequest(texts=["good morning world"], parameters=pb.GenerationParameters(num_beams=1))
    with closing(client.stream(request)) as events:
        *news, end = events
    assert "".join(event.text for event in news) == end.result.text


def test_models_and_refusals(server: Server, client: Client) -> None:
    assert {model.name for model in client.models()} == {"translator", "summarizer", "answerer"}
    with pytest.raises(ServerError, match="absent") as error:
        client.summarize("good", model="absent")
    assert error.value.code == "unknown_model"
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: client.summarize(["how are you"] * 4)[0].text, range(32)))
    assert len(set(answers)) == 1
