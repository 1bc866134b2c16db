"""A running server: its models are exchanged without a failed request, and it ends without losing one."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos.dqbart.v1 import seq2seq_pb2 as pb
from protos.dqbart.v1 import seq2seq_pb2_grpc
from tests.serving.server.load import Outcome, load
from tests.serving.server.running import (
    PATIENCE,
    Server,
    engines_standing_still,
    ongoing,
    processes,
    start_server,
)


class Running:
    """A server whose models stand in a file, and what it is told."""

    def __init__(self, server: Server, config: Path) -> None:
        self.server = server
        self._config = config
        self._printed = 0

    def serve(self, *models: str | Path) -> str:
        """Have it serve these; what it says of that."""
        self._config.write_text(yaml.safe_dump({"models": [str(model) for model in models]}))
        self._printed = len(self.server.output.read_text())
        self.server.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + PATIENCE
        while not (said := self._said()):
            assert time.monotonic() < deadline, self.server.output.read_text()
            time.sleep(0.05)
        return said

    def names(self) -> list[str]:
        return [model["name"] for model in httpx.get(f"{self.server.url}/v1/models", timeout=PATIENCE).json()["models"]]

    def replicas(self) -> list[int]:
        return processes(self.server, lambda command: command.startswith(b"ray::ServeReplica"))

    def _said(self) -> str:
        new = self.server.output.read_text()[self._printed :]
        return new if any(end in new for end in ("now serving", "stay as they were", "are as they were")) else ""


@pytest.fixture(scope="module")
def running(artifacts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("server")
    config = folder / "serve.yaml"
    config.write_text(yaml.safe_dump({"models": [str(artifacts["summarizer"])]}))
    # What stands nowhere but in the file can change.
    with start_server(folder, [], "--config", str(config), "--grace", "60") as server:
        yield Running(server, config)


def test_a_model_is_added_replaced_and_removed_under_load(
    running: Running, artifacts: dict[str, Path], tmp_path: Path
) -> None:
    before = running.replicas()
    exchanged = tmp_path / "summarizer"
    shutil.copytree(artifacts["summarizer"], exchanged)
    with load(running.server) as asked:
        asked.wait_for_answers(5)
        assert "now serving summarizer, answerer" in running.serve(artifacts["summarizer"], artifacts["answerer"])
        assert running.names() == ["summarizer", "answerer"]
        asked.wait_for_answers(5)
        running.serve(exchanged, artifacts["answerer"])
        asked.wait_for_answers(5)
        # The same name and folder, another content.
        generation = exchanged / "generation_config.json"
        generation.write_text(generation.read_text().replace('"num_beams": 2', '"num_beams": 3'))
        running.serve(exchanged, artifacts["answerer"])
        assert default_beams(running) == 3
        asked.wait_for_answers(5)
        running.serve(exchanged)
        assert running.names() == ["summarizer"]
        asked.wait_for_answers(5)
    assert asked.failures == []
    assert running.replicas() == before


def test_a_fault_leaves_the_models_as_they_are(running: Running, artifacts: dict[str, Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(artifacts["translator"], broken)
    (broken / "tokenizer.json").write_text("{")
    names = running.names()
    said = running.serve(artifacts["summarizer"], broken)
    assert f"error: models: broken: {broken / 'tokenizer.json'}" in said
    assert running.names() == names
    assert "absent does not exist: an artifact's folder is expected" in running.serve(tmp_path / "absent")
    running.serve(artifacts["summarizer"])


def test_stopping_finishes_what_was_accepted_and_refuses_the_rest(running: Running) -> None:
    server = running.server
    channel = grpc.insecure_channel(server.grpc_address)
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    with ThreadPoolExecutor(8) as pool, load(server, clients=3) as asked:
        asked.wait_for_answers(5)
        with engines_standing_still(server):
            begun = [pool.submit(summarize, server) for _ in range(8)]
            # Beside them, each client of the load has one.
            while ongoing(server) < 8 + 2 * 3:
                time.sleep(0.01)
            told = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
            ready, alive, refused = (
                httpx.get(server.url + path, timeout=PATIENCE) for path in ("/readyz", "/livez", "/healthz")
            )
            assert (ready.status_code, alive.status_code, refused.status_code) == (503, 200, 503)
            answer = summarize(server)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
            assert answer.headers["retry-after"] == "5"
            stub: Any = seq2seq_pb2_grpc.Seq2SeqStub(channel)
            with pytest.raises(grpc.RpcError) as call:
                stub.Summarize(pb.SummarizeRequest(texts=["good morning"]))
            assert call.value.code() == grpc.StatusCode.UNAVAILABLE
            assert dict(call.value.trailing_metadata())["dqbart-error-code"] == "unavailable"
        assert [answer.result().status_code for answer in begun] == [200] * 8, server.output.read_text()
        assert server.process.wait(PATIENCE) == 0
    channel.close()
    assert [outcome for outcome in asked.failures if outcome.started < told] == []
    assert [outcome for outcome in asked.failures if not expected(outcome)] == []


def expected(outcome: Outcome) -> bool:
    """Of a request that came after the signal: refused in our words, or the port is closed."""
    if outcome.kind == "503":
        return '"code":"unavailable"' in outcome.detail
    return outcome.kind in ("UNAVAILABLE", "ConnectError", "RemoteProtocolError", "ReadError")


def summarize(server: Server) -> httpx.Response:
    return httpx.post(f"{server.url}/v1/summarize", json={"text": ["how are you"] * 2}, timeout=PATIENCE)


def default_beams(running: Running) -> int:
    beams: int = httpx.get(f"{running.server.url}/v1/models", timeout=PATIENCE).json()["models"][0]["defaults"]["num_beams"]
    return beams
