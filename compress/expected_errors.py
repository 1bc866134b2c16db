"""What the commands report without a traceback."""

from __future__ import annotations

from compress.errors import CompressError
from quant.errors import Error
from quant.evaluation_file import EvaluationFileError

EXPECTED_ERRORS = (CompressError, Error, EvaluationFileError, OSError)
"""Anything else is a defect and keeps its traceback."""
