from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serving.engine.history import History, Ngrams, ending, followers

IDS = st.integers(0, 4)


def repeated(ids: list[int], size: int) -> set[int]:
    """By the definition."""
    prefix = ids[len(ids) + 1 - size :]
    return {ids[start + size - 1] for start in range(len(ids) - size + 1) if ids[start : start + size - 1] == prefix}


def ngrams_of(ids: list[int], size: int) -> Ngrams:
    table = Ngrams(size)
    for length in range(1, len(ids) + 1):
        table.note(ids[:length])
    return table


def test_repeated_ngrams_by_hand() -> None:
    for ids, size, expected in (
        ([4, 1, 2, 1], 2, {2}),
        ([1, 1, 1, 1], 2, {1}),
        ([4, 1, 2, 1], 1, {1, 2, 4}),
        ([1, 2, 3, 1, 2, 4, 1, 2], 3, {3, 4}),
        ([4, 1, 2, 1], 5, set()),
        ([4, 1], 3, set()),
    ):
        assert ngrams_of(ids, size).repeated(ids) == repeated(ids, size) == expected


@given(st.lists(st.lists(IDS, min_size=1, max_size=3), min_size=1, max_size=12), st.integers(1, 4), st.randoms())
def test_one_table_serves_all_sequences_of_a_search(steps: list[list[int]], size: int, random: object) -> None:
    """Sequences that continue others, as beams do: each sees its own n-grams only."""
    table = Ngrams(size)
    sequences = [[4]]
    table.note(sequences[0])
    for tokens in steps:
        sequences = [[*random.choice(sequences), token] for token in tokens]  # type: ignore[attr-defined]
        for ids in sequences:
            table.note(ids)
        for ids in sequences:
            assert table.repeated(ids) == repeated(ids, size)


@given(st.lists(IDS), IDS)
def test_distinct_tokens_ascend_and_a_continuation_leaves_its_parent_alone(ids: list[int], token: int) -> None:
    history = History.of(ids)
    other = history.continued(token)
    assert (history.ids, list(history.seen)) == (ids, sorted(set(ids)))
    assert (other.ids, list(other.seen)) == ([*ids, token], sorted({*ids, token}))
    assert history.has(token) == (token in ids)
    assert len(other) == len(history) + 1


def test_endings_and_followers() -> None:
    assert [ending([1, 2, 3], size) for size in (1, 2, 4, 5)] == [(), (3,), (1, 2, 3), (1, 2, 3)]
    assert followers([1, 2, 3, 1, 2, 4], 3) == {(1, 2): {3, 4}, (2, 3): {1}, (3, 1): {2}}
    assert followers([1, 2], 1) == {(): {1, 2}}
    assert followers([1, 2], 3) == {}
