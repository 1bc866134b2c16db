"""The one family of errors: what may be wrong with a model, or with what is asked of it, is an `Error`."""

from __future__ import annotations


class Error(Exception):
    """Base of the errors that a program may have to handle. The message says what was wrong and what is accepted."""
