"""Faults whose message is for the user: the commands print them in one line and stop."""

from __future__ import annotations


class CompressError(Exception):
    """Base of this package's own: something about the input or the settings, said with what is accepted."""


class DatasetError(CompressError):
    """Data that cannot be read. The message names the file or column, and what there is instead."""
