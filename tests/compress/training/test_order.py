from compress.data.encoded import Encoded
from compress.training.order import Order, Place

EXAMPLES = [Encoded([5] * length, [2], [6], False) for length in (1, 2, 3, 4, 5)]


def order() -> Order:
    return Order(EXAMPLES, batch_tokens=5, seed=1)


def test_every_example_comes_once_an_epoch() -> None:
    taken = order()
    places = [taken.take() for _ in range(2 * len(taken))]
    for epoch in (0, 1):
        of_epoch = [place for place in places if place.epoch == epoch]
        assert [place.position for place in of_epoch] == [*range(1, len(of_epoch) + 1)]
        assert sorted(index for place in of_epoch for index in place.indices) == [0, 1, 2, 3, 4]


def test_what_lies_ahead_is_what_is_taken_next_and_taking_goes_on_from_any_place() -> None:
    one = order()
    one.take()
    ahead = one.ahead(2 * len(one))
    assert (one.epoch, one.position) == (0, 1)
    other = order()
    other.go_to(0, 1)

    def listed(places: list[Place]) -> list[tuple[int, int, list[int]]]:
        return [(place.epoch, place.position, list(place.indices)) for place in places]

    assert listed([one.take() for _ in ahead]) == listed(ahead) == listed([other.take() for _ in ahead])
    assert ahead[-1].epoch == 2
