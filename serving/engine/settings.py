"""The engine's settings, each declared once with its meaning."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from serving.engine.errors import InvalidSettings

RunnerName = Literal["auto", "cuda", "native", "pytorch"]
"""What runs a model (see runners.py); `auto` is the fastest that can."""


@dataclass(frozen=True)
class EngineSettings:
    """Of one engine. Raises InvalidSettings naming key and value, when a limit is not a whole number of at least 1."""

    max_batch_rows: int = 64
    """Rows decoded together; a request takes as many as it has beams or sequences, and one with more is refused."""
    max_cache_bytes: int = 1 << 30
    """Bytes that the caches of all running requests may take, those of the engines that share the budget included; a request
    that alone may take more is refused."""
    max_queued_requests: int = 256
    """Requests that may wait for their encoding; a submission beyond them is refused."""
    max_encode_tokens: int = 4096
    """Source tokens, padding included, encoded together. A single source beyond it is still encoded, alone."""
    encode_tokens_per_step: int = 512
    """Source tokens, padding included, encoded in a step while rows are being decoded, so that those do not wait for long
    sources; part of the encoder's layers count for as large a part of the tokens. At least one layer is run."""
    packed_folder: str = "auto"
    """Where the native runner keeps models as it reads them, for processes to share: a folder, `auto` for the user's cache
    (see native/packed_folder.py), or `none`."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "packed_folder":
                if type(value) is not str or not value:
                    raise InvalidSettings(f"packed_folder is {value!r}, a folder, auto or none is expected")
            elif type(value) is not int or value < 1:
                raise InvalidSettings(f"{field.name} is {value!r}, a whole number of at least 1 is expected")
