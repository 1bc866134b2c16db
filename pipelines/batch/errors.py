"""What stops a run, for the user."""

from __future__ import annotations

from quant.errors import Error


class BatchError(Error):
    """An input, a model or an output that a run cannot work with. The message says which, and what is accepted."""
