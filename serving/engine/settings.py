"""The engine's settings, each declared once with its meaning."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class EngineSettings:
    """Limits of one engine. Raises ValueError naming key and value when a limit is not a whole number of at least 1."""

    max_batch_rows: int = 64
    """Rows decoded together; a request takes as many as it has beams, and one with more beams is refused."""
    max_queued_requests: int = 256
    """Requests that may wait for their encoding; a submission beyond them is refused."""
    max_encode_tokens: int = 4096
    """Source tokens, padding included, encoded in one step, so that long sources do not hold up the running requests for
    long. A single source beyond it is still encoded, alone."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) is not int or value < 1:
                raise ValueError(f"{field.name} is {value!r}, a whole number of at least 1 is expected")
