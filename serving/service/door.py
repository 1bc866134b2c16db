"""Who is inside, and whether more are let in: what a server that is to stop needs to know of its requests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from serving.service.errors import ErrorCode, ServiceError


class Door:
    """Counts the requests that are being answered. Once closed it lets in no more; it is for one event loop."""

    def __init__(self) -> None:
        self._inside = 0
        self._closed = False

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def inside(self) -> int:
        return self._inside

    def close(self) -> None:
        """Those inside may finish."""
        self._closed = True

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Inside for the length of the block. Raises ServiceError (unavailable) when the door is closed."""
        if self._closed:
            raise stopping()
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1


def stopping() -> ServiceError:
    """What a closed door tells."""
    return ServiceError(ErrorCode.UNAVAILABLE, "the server is stopping and takes no more requests; repeat this later")
