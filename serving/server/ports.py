"""The ports that a server listens on: found free before anything is started, and kept from then on.

HAProxy shares its ports (SO_REUSEPORT). Without that, one that takes over from another stops the other's listening whenever
one of its own sockets cannot be bound at once, and with it the sockets that it had already been handed: clients are refused
from then on. What is shared may also be taken by another server of the same user, and silently: hence a socket here that
has the port and never listens, which whoever looks for a free port finds.
"""

from __future__ import annotations

import socket
from contextlib import suppress

from serving.server.settings import Serve

_KEPT: list[socket.socket] = []


def take_ports(settings: Serve) -> None:
    """Keep them as long as this process lives. Raises SystemExit for an address that cannot be listened on."""
    for key, host, port in (
        ("http_port", settings.host, settings.http_port),
        ("grpc_port", "0.0.0.0", settings.grpc_port),
        # A replica listens there, and shares it with nobody.
        ("metrics_port", settings.host, settings.metrics_port),
    ):
        try:
            # As servers do: a connection that is still closing does not count as use.
            _bound(host, port, socket.SO_REUSEADDR).close()
        except socket.gaierror as error:
            raise SystemExit(f"host = {host!r}: {error.strerror}") from error
        except OSError as error:
            raise SystemExit(f"{key} = {port} on {host}: {error.strerror}") from error
        if key != "metrics_port":
            # It cannot be had while a connection closes that did not share it; the server does without, and works.
            with suppress(OSError):
                _KEPT.append(_bound(host, port, socket.SO_REUSEPORT))


def _bound(host: str, port: int, option: int) -> socket.socket:
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    bound = socket.socket(family, kind)
    try:
        bound.setsockopt(socket.SOL_SOCKET, option, 1)
        bound.bind(address)
    except BaseException:
        bound.close()
        raise
    return bound
