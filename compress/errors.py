"""Faults whose message is for the user: the commands print them in one line and stop."""

from __future__ import annotations

from quant.artifact import ArtifactError
from quant.evaluation_file import EvaluationFileError


class CompressError(Exception):
    """Base of this package's own: something about the input or the settings, said with what is accepted."""


EXPECTED_ERRORS = (CompressError, ArtifactError, EvaluationFileError, OSError)
"""What the commands report without a traceback; anything else is a defect and keeps it."""
