from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.service.passages import passage_windows

SEPARATOR = " ; "


def words(text: str) -> list[int]:
    """Where each token starts: a token is a word."""
    return [match.start() for match in re.finditer(r"\S+", text)]


@pytest.mark.parametrize(
    ("passages", "room", "windows"),
    [
        (["a b", "c d", "e"], 9, [("a b", "c d", "e")]),
        # A separator has one token.
        (["a b", "c d", "e"], 5, [("a b", "c d"), ("e",)]),
        (["a b", "c d", "e"], 4, [("a b",), ("c d", "e")]),
        # The order is kept, also where another one would fill windows better.
        (["a", "b c d", "e"], 3, [("a",), ("b c d",), ("e",)]),
        # What is too long for a window shares none.
        (["a", "B c. D e. F g.", "h"], 4, [("a",), ("B c. D e.",), ("F g.",), ("h",)]),
        (["a b c"], 1, [("a",), ("b",), ("c",)]),
    ],
)
def test_windows_are_made_of_whole_passages(passages: list[str], room: int, windows: list[tuple[str, ...]]) -> None:
    assert passage_windows(passages, SEPARATOR, "en", room, words) == windows


@given(st.lists(st.lists(st.sampled_from(["a", "bc", "D."]), min_size=1).map(" ".join), min_size=1), st.integers(1, 9))
def test_nothing_is_lost_and_nothing_is_too_long(passages: list[str], room: int) -> None:
    windows = passage_windows(passages, SEPARATOR, "en", room, words)
    assert " ".join(part for window in windows for part in window).split() == " ".join(passages).split()
    assert all(len(words(SEPARATOR.join(window))) <= room for window in windows)
