"""Which batches the student writes for, what is asked of it, and what becomes of its outputs."""

from collections.abc import Sequence

import pytest

from compress.data.encoded import Encoded
from compress.training.group import Alone
from compress.training.on_policy import Ask, OnPolicy, OnPolicySettings
from compress.training.order import Order

EXAMPLES = [Encoded([20 + index, 2], [2, 7], [7, 2], False) for index in range(16)]
BATCH_TOKENS = 8
"""Four examples a batch, four batches an epoch."""


class Writer:
    """Writes the number of its call and the first token of each source."""

    def __init__(self) -> None:
        self.asked: list[list[Ask]] = []

    def __call__(self, asks: Sequence[Ask]) -> list[list[int]]:
        self.asked.append(list(asks))
        return [[7, len(self.asked), ask.example.source_ids[0]] for ask in asks]


def own(share: float, every: int, write: Writer, seed: int = 3) -> OnPolicy:
    return OnPolicy(OnPolicySettings(share, every), EXAMPLES, BATCH_TOKENS, seed, write, Alone())


def order() -> Order:
    return Order(EXAMPLES, BATCH_TOKENS, seed=3)


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.5, "-o-o-o-o-o"), (1.0, "oooooooooo"), (0.25, "---o---o--"), (0.7, "-oo-oo-ooo")],
)
def test_the_share_is_spread_over_the_batches(share: float, expected: str) -> None:
    policy, taken = own(share, 2, Writer()), order()
    chosen = ""
    for step in range(10):
        policy.look_ahead(step, taken, 1)
        chosen += "-" if policy.examples(taken.take()) is None else "o"
    assert chosen == expected


def test_outputs_are_decoder_inputs_and_labels_and_are_written_anew_after_some_steps() -> None:
    write, taken = Writer(), order()
    policy = own(1.0, 2, write)
    for step, call in ((0, 1), (1, 1), (2, 2)):
        policy.look_ahead(step, taken, 2)
        for _ in range(2):
            place = taken.take()
            examples = policy.examples(place)
            assert examples is not None
            assert [example.source_ids[0] for example in examples] == [20 + index for index in place.indices]
            for example in examples:
                assert example.label_ids == [7, call, example.source_ids[0]]
                assert example.decoder_ids == [2, 7, call]
    assert [len(asked) for asked in write.asked] == [16, 16]


def test_an_output_is_no_longer_than_its_batch_has_room_for_and_draws_of_its_own() -> None:
    write = Writer()
    own(1.0, 1, write).look_ahead(0, order(), 1)
    own(1.0, 1, write, seed=4).look_ahead(0, order(), 1)
    first, second = write.asked
    assert {ask.most_tokens for ask in first} == {2}
    assert len({ask.seed for ask in first}) == 4
    assert {ask.seed for ask in first}.isdisjoint(ask.seed for ask in second)


def test_what_is_left_of_the_outputs_goes_into_the_state() -> None:
    taken, write = order(), Writer()
    first = own(0.5, 8, write)
    first.look_ahead(0, taken, 1)
    taken.take()
    second = own(0.5, 8, write)
    second.resume(first.state())
    second.look_ahead(1, taken, 1)
    for _ in range(7):
        place = taken.take()
        assert second.examples(place) == first.examples(place)
    assert len(write.asked) == 1
    empty = own(0.5, 8, write)
    empty.resume(empty.state())
    assert empty.state() == {}
