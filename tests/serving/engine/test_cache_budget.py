from __future__ import annotations

from serving.engine.cache_budget import BudgetShare, CacheBudget


def shares(max_bytes: int, count: int = 2) -> tuple[CacheBudget, list[BudgetShare]]:
    budget = CacheBudget(max_bytes)
    return budget, [budget.share() for _ in range(count)]


def arrived(share: BudgetShare, cache_bytes: int, next_bytes: int = 0) -> int:
    arrival = share.arrive()
    assert share.admit(arrival, cache_bytes, next_bytes)
    return arrival


def test_claims_of_all_shares_are_limited_together() -> None:
    budget, (first, second) = shares(100)
    earlier = arrived(first, 60)
    later = second.arrive()
    assert not second.admit(later, 41, 0)
    assert second.admit(later, 40, 0)
    assert (budget.claimed, first.claimed, second.claimed) == (100, 60, 40)
    first.release(earlier)
    assert (budget.claimed, first.claimed, second.claimed) == (40, 0, 40)


def test_room_is_left_for_the_next_growth_of_all_who_run() -> None:
    _, (first, second) = shares(100)
    growing = arrived(first, 50, 20)
    other = second.arrive()
    assert not second.admit(other, 31, 50)
    assert second.admit(other, 30, 50)
    assert first.grow(growing, 0)
    assert (first.claimed, second.claimed) == (70, 30)


def test_one_alone_is_admitted_whatever_it_grows_to() -> None:
    _, (first, _) = shares(100)
    growing = arrived(first, 60, 40)
    assert first.grow(growing, 0)
    assert first.claimed == 100


def test_nobody_overtakes_who_waits_for_memory_at_another_engine() -> None:
    _, (first, second) = shares(100)
    running = arrived(first, 50)
    waiting, later = second.arrive(), first.arrive()
    assert not second.admit(waiting, 60, 0)
    assert not first.admit(later, 1, 0)
    first.release(running)
    assert not first.admit(later, 1, 0)
    assert second.admit(waiting, 60, 0)
    assert first.admit(later, 1, 0)


def test_who_waits_no_longer_holds_up_nobody() -> None:
    _, (first, second) = shares(100)
    arrived(first, 50)
    waiting, later = second.arrive(), first.arrive()
    assert not second.admit(waiting, 60, 0)
    assert not first.admit(later, 1, 0)
    second.wait(None)
    assert first.admit(later, 1, 0)


def test_the_latest_of_all_shares_give_way_as_many_as_must() -> None:
    _, (first, second) = shares(100)
    growing = arrived(first, 40, 30)
    middle = arrived(second, 20)
    latest = arrived(second, 5)
    first.grow(growing, 30)
    assert (first.claimed, second.claimed) == (70, 25)
    assert not first.grow(growing, 0)
    assert (first.giving_way, second.giving_way) == (set(), {middle, latest})
    # They are counted on until they have gone, and asked once.
    assert not first.grow(growing, 0)
    second.release(latest)
    assert not first.grow(growing, 0)
    second.release(middle)
    assert first.grow(growing, 0)
    assert (first.claimed, second.claimed, second.giving_way) == (100, 0, set())


def test_the_latest_gives_way_itself() -> None:
    _, (first, second) = shares(100)
    arrived(first, 80)
    latest = arrived(second, 10, 20)
    assert not second.grow(latest, 0)
    assert (first.giving_way, second.giving_way) == (set(), {latest})


def test_a_share_that_is_closed_holds_and_waits_for_nothing() -> None:
    budget, (first, second) = shares(100)
    arrived(first, 60, 10)
    assert not first.admit(first.arrive(), 100, 0)
    assert not second.admit(later := second.arrive(), 60, 0)
    first.close()
    assert (budget.claimed, first.claimed) == (0, 0)
    assert second.admit(later, 60, 0)


def test_what_is_kept_to_spare_is_within_the_budget_too() -> None:
    _, (first, second) = shares(100)
    arrived(first, 50)
    assert first.keep(30) == 30
    assert second.keep(30) == 20
    arrived(second, 40)
    assert second.keep(20) == 0
    assert first.keep(30) == 10
    assert first.keep(0) == 0
    assert second.keep(20) == 10
