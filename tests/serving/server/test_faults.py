"""A replica is killed while many ask; and what is left of a server when it has ended."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from serving.observability.processes import descendants
from tests.serving.server.load import Outcome, load
from tests.serving.server.running import PATIENCE, Server, start_server

REPLICA = "ray::ServeReplica"
ENGINES = "serving.server.engines.child"
CUT = {"RemoteProtocolError", "ReadError", "UNAVAILABLE", "INTERNAL", "CANCELLED"}


@pytest.fixture(scope="module")
def server(artifacts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    models = [artifacts["summarizer"]]
    with start_server(tmp_path_factory.mktemp("server"), models, "--replicas", "2", "--grace", "10") as server:
        yield server


@pytest.mark.parametrize("part", [REPLICA, ENGINES])
def test_a_killed_replica_costs_only_what_it_was_streaming(server: Server, part: str) -> None:
    with load(server, clients=4, streams=2) as asked:
        asked.wait_for_answers(20)
        (victim, _) = running(server, part)
        os.kill(victim, signal.SIGKILL)
        asked.wait_for_answers(40)
        wait_for_two(server, part, victim)
        asked.wait_for_answers(20)
    assert len(asked.failures) <= 4, asked.kinds_of_failures
    assert all(was_cut(outcome) for outcome in asked.failures), asked.kinds_of_failures


def test_nothing_is_left_after_the_end(server: Server) -> None:
    started = {pid: name_of(pid) for pid in descendants(server.process.pid)}
    assert any("haproxy" in name for name in started.values())
    begun = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(PATIENCE) == 0
    print(f"stopped in {time.monotonic() - begun:.1f} s")
    assert [name for pid, name in started.items() if name_of(pid) == name] == []
    for address in (server.url.removeprefix("http://"), server.grpc_address):
        host, _, port = address.rpartition(":")
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, int(port)))
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url)


def was_cut(outcome: Outcome) -> bool:
    """A stream whose connection ended within it: by HTTP what httpx raises, by gRPC a code for the reset.

    Which one depends on what it was doing as the reset came: CANCELLED, or UNKNOWN with "Stream removed".
    """
    if outcome.kind == "UNKNOWN":
        return outcome.streamed and outcome.detail.startswith("Stream removed")
    return outcome.streamed and outcome.kind in CUT


def running(server: Server, part: str) -> list[int]:
    """Processes of the server with `part` in their command lines."""
    return [pid for pid in descendants(server.process.pid) if part in name_of(pid)]


def wait_for_two(server: Server, part: str, without: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while len([pid for pid in running(server, part) if pid != without]) < 2:
        assert time.monotonic() < deadline, f"{part} was not replaced"
        time.sleep(0.1)


def name_of(pid: int) -> str:
    """The command line, empty for a process that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
