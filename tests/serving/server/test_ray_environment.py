"""What Ray is told by the environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from serving.server import ray_environment
from serving.server.ray_environment import BLOCK, haproxy_binary, set_ray_environment


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A copy that is forgotten after the test."""
    copied = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    monkeypatch.setattr(os, "environ", copied)
    monkeypatch.setattr(ray_environment, "_GUARDS", [])
    return copied


def test_two_servers_have_no_port_in_common(environment: dict[str, str], tmp_path: Path) -> None:
    fallbacks = []
    for name in ("one", "other"):
        for setting in [name for name in environment if name.startswith("RAY_")]:
            del environment[setting]
        folder = tmp_path / name
        folder.mkdir()
        set_ray_environment(1 << 20, "/usr/sbin/haproxy", folder)
        fallbacks.append(int(environment["RAY_SERVE_FALLBACK_PROXY_HTTP_PORT"]))
        assert Path(environment["RAY_SERVE_HAPROXY_SOCKET_PATH"]).parent == folder
    assert abs(fallbacks[0] - fallbacks[1]) >= BLOCK
    for guard in ray_environment._GUARDS:
        guard.close()


def test_what_the_environment_says_stays(environment: dict[str, str], tmp_path: Path) -> None:
    environment["RAY_SERVE_HAPROXY_RETRIES"] = "2"
    set_ray_environment(1 << 20, "/usr/sbin/haproxy", tmp_path)
    assert environment["RAY_SERVE_HAPROXY_RETRIES"] == "2"
    assert environment["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
    for guard in ray_environment._GUARDS:
        guard.close()


def test_rays_own_proxy_needs_none_of_it(environment: dict[str, str], tmp_path: Path) -> None:
    assert haproxy_binary("ray") is None
    set_ray_environment(1 << 20, None, tmp_path)
    assert environment["RAY_SERVE_ENABLE_HA_PROXY"] == "0"
    assert list(tmp_path.iterdir()) == []
