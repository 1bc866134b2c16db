"""The tiny artifacts of `serving`."""

from tests.serving.conftest import artifacts

__all__ = ["artifacts"]
