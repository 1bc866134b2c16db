"""What clients send and get, once for both protocols: HTTP reads and writes these as JSON, gRPC converts from and to them.

Here is what all have; the rest is in requests.py, results.py and descriptions.py. Unknown fields are refused, so that a
misspelt parameter is an error and not a silent default.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Message(BaseModel):
    """Base of everything here."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, frozen=True, hide_input_in_errors=True)


def no_boolean(value: object) -> object:
    """What stands for a number; true and false, which Python takes for 1 and 0, do not."""
    if isinstance(value, bool):
        raise ValueError("should be a number")
    return value


class ErrorDetail(Message):
    """Why a request got no answer."""

    code: str
    """A stable name of the kind of error, for programs."""
    message: str
    """What was wrong and what is accepted, for people."""
    field: str | None = None
    """The part of the request at fault, where there is one."""


class ErrorResponse(Message):
    """The body of every response that is not 2xx."""

    error: ErrorDetail
