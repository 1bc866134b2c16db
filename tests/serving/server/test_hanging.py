"""A replica whose engines hang says so, and is replaced."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.serving.server import hanging
from tests.serving.server.running import PATIENCE, Server, start_server

TEXT = {"text": "good morning world", "parameters": {"max_new_tokens": 8}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hanging")


@pytest.fixture(scope="module")
def server(artifacts: dict[str, Path], folder: Path) -> Iterator[Server]:
    models = [artifacts["summarizer"], artifacts["answerer"]]
    env = hanging.environment(folder, "computing")
    with start_server(folder, models, "--max-step-seconds", "3", "--threads", "1", env=env) as server:
        yield server


def ask(server: Server) -> httpx.Response:
    return httpx.post(f"{server.url}/v1/summarize", json=TEXT, timeout=PATIENCE)


def livez(server: Server) -> httpx.Response:
    return httpx.get(f"{server.url}/livez", timeout=PATIENCE)


def until(what: str, wanted: Callable[[httpx.Response], bool], asked: Callable[[], httpx.Response]) -> httpx.Response:
    deadline = time.monotonic() + PATIENCE
    while not wanted(answer := asked()):
        assert time.monotonic() < deadline, f"{what}: {answer.text}"
        time.sleep(0.05)
    return answer


def test_a_replica_whose_step_hangs_says_so_and_is_replaced(server: Server, folder: Path) -> None:
    first = ask(server)
    assert first.status_code == 200
    hanging.hang(folder)
    with ThreadPoolExecutor(1) as asking:
        hung = asking.submit(ask, server)
        sick = until("it hangs", lambda answer: "a step of summarizer has taken" in answer.text, lambda: livez(server))
        assert sick.status_code == 503
        assert sick.json()["error"]["message"].startswith(
            "summarizer, answerer cannot answer: a step of summarizer has taken "
        )
        # It was the only one: whether another comes in time to answer is not for us to say.
        assert hung.result().status_code in (200, 503)
    again = until("it is replaced", lambda answer: answer.status_code == 200, lambda: ask(server))
    assert again.json()["results"][0]["text"] == first.json()["results"][0]["text"]
    assert livez(server).status_code == 200
    assert "a step of summarizer has taken " in server.output.read_text()
