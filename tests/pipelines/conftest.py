"""The tiny teachers and the data of `compress`."""

from tests.compress.conftest import pairs, teachers

__all__ = ["pairs", "teachers"]
