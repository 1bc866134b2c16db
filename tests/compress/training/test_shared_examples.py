from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from compress.data.encoded import Encoded
from compress.training.group import Alone
from compress.training.shared_examples import shared_examples

EXAMPLES = [Encoded([0, 5, 2], [2, 7], [7, 2], False)] * 3

Found = TypeVar("Found")


class Second(Alone):
    """A process that finds what the first one wrote."""

    rank = 1
    size = 2

    def from_first(self, find: Callable[[], Found]) -> Found:
        return None  # type: ignore[return-value]


def not_called() -> list[Encoded]:
    raise AssertionError("encoded twice")


def test_the_first_encodes_and_all_read(tmp_path: Path) -> None:
    folder = tmp_path / "training" / "examples"
    with shared_examples(folder, lambda: iter(EXAMPLES), Alone()) as first:
        with shared_examples(folder, not_called, Second()) as second:
            assert list(first) == list(second) == EXAMPLES
        assert folder.is_dir(), "another process than the first removed what the first one reads"
    assert not list(tmp_path.iterdir())


def test_nothing_stays_when_training_fails(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    with pytest.raises(KeyboardInterrupt), shared_examples(tmp_path / "examples", lambda: EXAMPLES, Alone()):
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
