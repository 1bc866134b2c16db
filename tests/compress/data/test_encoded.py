"""Examples on disk are those that were written, in four bytes a token."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.data.batches import epoch_batches
from compress.data.encoded import Encoded, EncodedFiles, in_chunks, lengths_of, truncated_of, write_encoded
from quant.whole_files import WriteError

EXAMPLES = [
    Encoded([0, 250_053, 2], [2, 7], [7, 2], False),
    Encoded([0, 2], [2], [2], True),
    Encoded([0, 5, 6, 7, 2], [2, 8, 9], [8, 9, 2], False),
]


def written(folder: Path, examples: list[Encoded]) -> EncodedFiles:
    write_encoded(folder, iter(examples))
    return EncodedFiles(folder)


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    files = written(tmp_path / "examples", EXAMPLES)
    assert list(files) == EXAMPLES
    assert (files[-1], files[1:]) == (EXAMPLES[2], EXAMPLES[1:])
    assert lengths_of(files).tolist() == lengths_of(EXAMPLES).tolist() == [[3, 2], [2, 1], [5, 3]]
    assert truncated_of(files) == truncated_of(EXAMPLES) == 1
    assert all(type(token) is int for token in files[0].source_ids)
    with pytest.raises(IndexError):
        files[3]


def test_a_token_takes_four_bytes_of_a_source_and_eight_of_a_target(tmp_path: Path) -> None:
    written(tmp_path / "examples", [Encoded([5] * 800, [2] * 60, [7] * 60, False)] * 10)
    assert (tmp_path / "examples" / "ids").stat().st_size == 10 * (800 * 4 + 60 * 8)
    assert sum(path.stat().st_size for path in (tmp_path / "examples").glob("*.npy")) < 10 * 24 + 300


def test_the_files_may_go_while_they_are_read(tmp_path: Path) -> None:
    files = written(tmp_path / "examples", EXAMPLES)
    shutil.rmtree(tmp_path / "examples")
    assert list(files) == EXAMPLES


def test_what_an_earlier_run_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "examples.partial").mkdir()
    earlier = written(tmp_path / "examples", EXAMPLES)
    assert list(written(tmp_path / "examples", EXAMPLES[:1])) == EXAMPLES[:1]
    assert list(earlier) == EXAMPLES
    assert [path.name for path in tmp_path.iterdir()] == ["examples"]


def test_a_fault_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    def faulty() -> Iterator[Encoded]:
        yield EXAMPLES[0]
        raise OSError(28, "No space left on device")

    with pytest.raises(WriteError, match="examples cannot be written: No space left"):
        write_encoded(tmp_path / "examples", faulty())
    assert not list(tmp_path.iterdir())


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=30), st.integers(1, 60))
def test_batches_of_files_are_those_of_lists(tmp_path_factory, lengths: list[tuple[int, int]], budget: int) -> None:
    examples = [Encoded([5] * source, [2] * target, [7] * target, False) for source, target in lengths]
    files = written(tmp_path_factory.mktemp("files") / "examples", examples)
    assert epoch_batches(files, budget, 3, 1) == epoch_batches(examples, budget, 3, 1)


def test_chunks_end_where_the_entries_do() -> None:
    assert [(chunk.start, chunk.stop) for chunk in in_chunks(5, 2)] == [(0, 2), (2, 4), (4, 5)]
    assert list(in_chunks(0, 2)) == []
