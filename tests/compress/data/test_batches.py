from hypothesis import given
from hypothesis import strategies as st

from compress.data.batches import collate, epoch_batches, length_batches
from compress.data.encoded import Encoded


def example(source: int, target: int = 1) -> Encoded:
    return Encoded([5] * source, [2] * target, [7] * target, truncated=False)


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=60), st.integers(1, 200), st.integers()
)
def test_an_epoch_holds_every_example_once_within_the_budget(lengths, budget: int, seed: int) -> None:
    examples = [example(*pair) for pair in lengths]
    batches = epoch_batches(examples, budget, seed, epoch=0)
    assert sorted(index for batch in batches for index in batch) == list(range(len(examples)))
    for batch in batches:
        longest = max(max(lengths[index]) for index in batch)
        assert len(batch) == 1 or longest * len(batch) <= budget


def test_epochs_differ_and_repeat_with_the_seed() -> None:
    examples = [example(n % 9 + 1) for n in range(50)]
    first = epoch_batches(examples, 30, seed=1, epoch=0)
    assert first == epoch_batches(examples, 30, seed=1, epoch=0)
    assert first != epoch_batches(examples, 30, seed=1, epoch=1)
    assert first != epoch_batches(examples, 30, seed=2, epoch=0)


def test_a_batch_is_cut_where_padding_would_exceed_the_budget() -> None:
    examples = [example(2), example(2), example(3), example(9)]
    assert length_batches(examples, range(4), batch_tokens=9) == [[0, 1, 2], [3]]


def test_padding_is_masked_in_sources_and_ignored_in_labels() -> None:
    batch = collate([example(3, 1), example(1, 2)], pad_id=1)
    assert batch.source_ids.tolist() == [[5, 5, 5], [5, 1, 1]]
    assert batch.source_mask.tolist() == [[True, True, True], [True, False, False]]
    assert batch.decoder_ids.tolist() == [[2, 1], [2, 2]]
    assert batch.labels.tolist() == [[7, -100], [7, 7]]
    assert batch.tokens == 7
