from __future__ import annotations

import socket

import httpx
import pytest

from serving.observability.exporter import PortError, expose
from serving.observability.metrics import Metrics
from tests.serving.server.running import free_port


def test_two_replicas_share_the_port_and_one_goes_on_alone() -> None:
    port = free_port()
    registry = Metrics().registry
    one, other = expose(registry, "127.0.0.1", port), expose(registry, "127.0.0.1", port)
    try:
        one.shutdown()
        one.server_close()
        for _ in range(5):
            page = httpx.get(f"http://127.0.0.1:{port}/metrics")
            assert page.headers["content-type"].startswith("text/plain")
            assert "dqbart_replicas 1.0" in page.text
    finally:
        other.shutdown()
        other.server_close()


def test_a_port_of_someone_else_is_refused() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(PortError, match=f"metrics_port = {port} on 127.0.0.1: Address already in use"):
            expose(Metrics().registry, "127.0.0.1", port)
