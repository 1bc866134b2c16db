"""A way to a server that lets only so much of its answers through: whoever asks by it is held up, however fast it is."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def relay(address: str, most: int) -> Iterator[str]:
    """HOST:PORT of a relay to the server at `address`, which hands on `most` bytes of answers on each connection."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener, address, most, ended), daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        ended.set()


def _accept(listener: socket.socket, address: str, most: int, ended: threading.Event) -> None:
    host, _, port = address.rpartition(":")
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            server = socket.create_connection((host, int(port)))
            threading.Thread(target=_hand_on, args=(client, server, None, ended), daemon=True).start()
            threading.Thread(target=_hand_on, args=(server, client, most, ended), daemon=True).start()


def _hand_on(source: socket.socket, target: socket.socket, most: int | None, ended: threading.Event) -> None:
    given = 0
    with suppress(OSError), target:
        while part := source.recv(4096):
            if most is not None and given + len(part) > most:
                ended.wait()
                return
            target.sendall(part)
            given += len(part)
