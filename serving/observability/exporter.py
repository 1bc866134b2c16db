"""The metrics of one node on a port of its own, for scrapers of a cluster.

Requests to the service's own /metrics are spread over the replicas of all nodes, and each of them knows those of its node
only: a scraper would see now one node and now another. A port that only the replicas of this node listen on has no such
choice. They share it (SO_REUSEPORT): each can answer for all of them, and when one dies, the others go on.
"""

from __future__ import annotations

import socket
from threading import Thread
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer


class PortError(RuntimeError):
    """The port of metrics cannot be listened on."""


def expose(registry: CollectorRegistry, host: str, port: int) -> WSGIServer:
    """Answer GET on any path of the port with the metrics, from a thread. Raises PortError."""
    try:
        server_class = _server_class(host, port)
        server = make_server(host, port, make_wsgi_app(registry), server_class, _SilentHandler)
    except OSError as error:
        raise PortError(f"metrics_port = {port} on {host}: {error.strerror}") from error
    Thread(target=server.serve_forever, name="dqbart-metrics", daemon=True).start()
    return server


def _server_class(host: str, port: int) -> type[WSGIServer]:
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]

    class Server(ThreadingWSGIServer):
        address_family = family
        allow_reuse_port = True

    return Server


class _SilentHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """A scrape is no news."""
