"""Everything that a caller of the engine may have to handle."""

from __future__ import annotations

from quant.errors import Error


class InvalidSettings(Error, ValueError):
    """Settings of an engine that cannot hold; the message names key, value and what is accepted."""


class InvalidRequest(Error, ValueError):
    """A request that this model or these settings cannot serve; the message names field, value and what is accepted."""


class SourceTooLong(InvalidRequest):
    """More source tokens than the model has positions."""


class EngineFull(Error, RuntimeError):
    """The queue is at its bound; the same request may be accepted later."""


class EngineClosed(Error, RuntimeError):
    """The engine was closed before the request was finished, or before it was submitted."""


class GenerationFailed(Error, RuntimeError):
    """A fault inside the engine ended this request; the cause is chained."""


class EngineNotOpened(Error, RuntimeError):
    """A model's engine could not be opened in its process; the message says why."""
