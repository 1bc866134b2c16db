"""What Ray Serve runs as HAProxy: edits the configuration that Ray wrote, and becomes HAProxy.

Ray's configuration answers in its own words when nothing can serve a request (a plain 500, 404, or gRPC's NOT_FOUND), waits
an hour for a request that does not arrive, opens two ports on all interfaces that nothing here reads, and lets any user of
the machine command HAProxy. There are no settings for these, but one for the binary (RAY_SERVE_HAPROXY_BINARY_PATH), and Ray
starts it anew for each change: so it is edited here. What HAProxy itself does not take for HTTP has an answer that is built
in, and stays. HAProxy is told to end with the process that started it, or a killed Ray would leave it behind, listening.

This file is run by itself, and often, so it imports little and nothing of the project. DQBART_HAPROXY names the binary.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import sys
from pathlib import Path

BINARY_VARIABLE = "DQBART_HAPROXY"
CODE = "unavailable"
MESSAGE = "the server is starting, restarting or stopping; repeat this later"
RETRY_AFTER_SECONDS = 5

REQUEST_SECONDS = 60
"""How long a request may take to arrive; a replica has a limit of its own for those that it is handed sooner."""

REFUSALS = {
    400: ("Bad Request", "bad_request", "what was sent is no HTTP request"),
    408: ("Request Timeout", "request_timeout", f"the request did not arrive within {REQUEST_SECONDS} seconds"),
}
"""Status → reason, code and message of what never comes to a replica."""

UNREAD = ("frontend prometheus", "listen stats")
"""Sections that only open ports: their figures are in /metrics, or come over the admin socket."""

WHOLE_REQUEST_HTTP = "option http-buffer-request"
WHOLE_REQUEST_GRPC = f"http-request wait-for-body time {REQUEST_SECONDS}s if {{ path_beg /dqbart.v1. }}"
"""HAProxy gives a request to another replica only if it had the whole of it when it began to send it to the first one. Not
for other services: the reflection's calls are streams."""

REQUEST_TIMEOUT = f"timeout http-request {REQUEST_SECONDS}s"

NO_UPGRADE = "http-request del-header upgrade"
"""Nothing here speaks another protocol; Ray's proxy and uvicorn would, and without an answer of ours."""

VANISHED = ("option srvtcpka", "srvtcpka-idle 5s", "srvtcpka-intvl 1s", "srvtcpka-cnt 5")
VANISHED_SERVER = "tcp-ut 10s"
"""A machine that lost its power or its network closes no connection, and whoever waits for its answer would wait for ever.
The kernels ask each other: after 10 seconds without a word the connection has failed, and the request is given to another
replica. However busy a replica is, its machine's kernel answers. They do not ask while something that was sent waits for its
acknowledgement, as it may on a connection that HTTP/2 shares, and repeat that for a quarter of an hour: hence a limit for it
too. It is put on each server, since HAProxy 2.8 reads it among the defaults and then leaves it out."""

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("haproxy: what started it has ended")
    if "-f" in sys.argv:
        edit(Path(sys.argv[sys.argv.index("-f") + 1]))
    # The server keeps signals from what it starts; Ray ends HAProxy by one.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    binary = os.environ[BINARY_VARIABLE]
    os.execv(binary, [binary, *sys.argv[1:]])


def edit(config: Path) -> None:
    """Rewrite the file, and write beside it the answers that it then names."""
    pages = {"unavailable.http": unavailable(grpc=False), "unavailable.grpc": unavailable(grpc=True)}
    pages |= {f"{status}.http": refused(status) for status in REFUSALS}
    for name, page in pages.items():
        replace(config.with_name(name), page)
    replace(config, edited(config.read_text(), str(config.parent)).encode())


def edited(config: str, folder: str) -> str:
    """Ray's configuration with our answers, which are in `folder`, without what the docstring above tells of."""
    config = re.sub(r"^(\s+stats socket .*) mode 666 ", r"\1 mode 600 ", config, flags=re.MULTILINE)
    config = re.sub(r"^(\s+server .*)$", rf"\1 {VANISHED_SERVER}", config, flags=re.MULTILINE)
    sections = re.split(r"^(?=\w)", config, flags=re.MULTILINE)
    return "".join(_edited(section, folder) for section in sections if not section.startswith(UNREAD))


def _edited(section: str, folder: str) -> str:
    heading = section.partition("\n")[0]
    if heading == "defaults":
        # With splicing HAProxy does not notice that a client has left, and its request would go on.
        section = re.sub(r"^\s+option splice-.*\n", "", section, flags=re.MULTILINE)
        section = re.sub(r"^(\s+errorfile \d+) .*$", rf"\1 {folder}/unavailable.http", section, flags=re.MULTILINE)
        lines = [*(f"errorfile {status} {folder}/{status}.http" for status in REFUSALS), *VANISHED]
    elif heading == "frontend http_frontend":
        lines = [REQUEST_TIMEOUT]
    elif heading == "backend default_backend":
        # Every path comes to the application when there is one, so that what does not begin as one does comes here.
        lines = [
            "http-request return status 400 default-errorfiles if !{ path_beg / }",
            "http-request return status 503 default-errorfiles",
        ]
    elif heading == "backend default_grpc_backend":
        lines = ["http-request return status 503 default-errorfiles"]
    elif heading.startswith("backend http-"):
        # A 500 of ours is JSON. The other ones are Ray's, from its fallback proxy, for a request whose replica has died, and
        # its 503 is for one too many. A 400 of another kind is uvicorn's, for what HAProxy takes for HTTP and uvicorn does
        # not.
        foreign = "!{ res.hdr(content-type) -m beg application/json }"
        lines = [
            WHOLE_REQUEST_HTTP,
            REQUEST_TIMEOUT,
            NO_UPGRADE,
            f"http-response return status 503 default-errorfiles if {{ status 500 503 }} {foreign}",
            f"http-response return status 400 default-errorfiles if {{ status 400 }} {foreign}",
        ]
    elif heading.startswith("backend grpc-"):
        lines = [WHOLE_REQUEST_GRPC]
    else:
        lines = []
    if "grpc" in heading:
        lines = [f"errorfile {status} {folder}/unavailable.grpc" for status in (502, 503, 504)] + lines
    kept = heading if heading.startswith("backend default_") else section.rstrip("\n")
    return "\n".join([kept, *(f"    {line}" for line in lines)]) + "\n"


def unavailable(grpc: bool) -> bytes:
    """The whole response, as HAProxy sends it, that tells a client to come back."""
    body = b"" if grpc else json.dumps({"error": {"code": CODE, "message": MESSAGE}}).encode()
    headers: dict[str, str | int] = {"Retry-After": RETRY_AFTER_SECONDS, "Content-Length": len(body)}
    if grpc:
        # A response without messages, whose headers are what trailers are elsewhere; 14 is UNAVAILABLE.
        headers |= {
            "Content-Type": "application/grpc",
            "grpc-status": 14,
            "grpc-message": MESSAGE,
            "dqbart-error-code": CODE,
        }
        start = "HTTP/1.1 200 OK"
    else:
        headers |= {"Content-Type": "application/json"}
        start = "HTTP/1.1 503 Service Unavailable"
    lines = [start, *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def refused(status: int) -> bytes:
    """The whole response to what is no request."""
    reason, code, message = REFUSALS[status]
    body = json.dumps({"error": {"code": code, "message": message}})
    head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return (head + body).encode()


def replace(path: Path, content: bytes) -> None:
    """Write a file at once: a HAProxy that is starting may be reading it."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)


if __name__ == "__main__":
    main()
