"""The simulation against cases that were worked by hand, and a queue whose mean wait is known."""

from __future__ import annotations

import statistics

import pytest

from benchmarks.capacity.costs import EngineCosts, Line, ServiceCosts, Work
from benchmarks.capacity.replica import Replica, ReplicaSettings
from benchmarks.capacity.simulation import Arrivals, LeastConnections, Simulated, simulate
from serving.engine.settings import EngineSettings

FREE = ServiceCosts(loop=0.0, path=0.0)
TWO_STEPS = Work(source_tokens=16, claimed_rows=1, cache_bytes=1, rows=(1, 1))
COSTS = EngineCosts(
    (TWO_STEPS,), encoder_layers=1, encode=Line(((16.0, 3.0), (32.0, 4.0))), decode=Line(((1.0, 1.0), (2.0, 1.5)))
)
"""Encoding takes 3 seconds for one request and 4 for two, a step 1 for one row and 1.5 for two."""


def served(
    *times: float,
    costs: EngineCosts = COSTS,
    service: ServiceCosts = FREE,
    settings: ReplicaSettings | None = None,
    replicas: int = 1,
) -> Simulated:
    arrivals = Arrivals(times, tuple(range(len(costs.works))) if len(costs.works) > 1 else (0,) * len(times))
    return simulate(costs, service, settings or ReplicaSettings(), replicas, arrivals)


def limited(**limits: int) -> ReplicaSettings:
    return ReplicaSettings(engine=EngineSettings(**limits))


def test_one_request_takes_its_encoding_and_its_steps() -> None:
    assert served(10.0) == Simulated(latencies=(5.0,), refused=0, seconds=5.0)


def test_two_that_come_together_share_encoding_and_steps() -> None:
    # The first is begun at once and alone: 3 + 1, a step that ends at 4. Then the second is encoded (3) beside the first's
    # last step, both decode (1.5), until 8.5; its own last step takes 1.
    assert served(0.0, 0.0).latencies == (8.5, 9.5)


def test_two_that_wait_are_encoded_together() -> None:
    # As above until 4; then two are encoded together (4) and three rows decoded (2), until 10; two rows for 1.5 more.
    assert served(0.0, 1.0, 2.0).latencies == (10.0, 10.5, 9.5)


def test_a_request_that_claims_no_room_waits_for_it() -> None:
    assert served(0.0, 0.0, settings=limited(max_batch_rows=1)).latencies == (5.0, 10.0)
    assert served(0.0, 0.0, settings=limited(max_cache_bytes=1)).latencies == (5.0, 10.0)


def test_a_long_source_is_encoded_in_slices_while_others_decode() -> None:
    long = Work(source_tokens=64, claimed_rows=1, cache_bytes=1, rows=(1,))
    short = Work(source_tokens=16, claimed_rows=1, cache_bytes=1, rows=(1, 1, 1))
    costs = EngineCosts((short, long), 2, encode=Line(((0.0, 0.0), (16.0, 1.0))), decode=Line(((1.0, 1.0), (2.0, 2.0))))
    # Short: encoded by 1, steps until 2. Long: a layer is 32 tokens, 2 seconds, and one is run a step: 2 + 1 until 5, when
    # it is not in the batch yet; 2 + 2 until 9, when both end.
    settings = limited(encode_tokens_per_step=32)
    assert served(0.0, 0.5, costs=costs, settings=settings).latencies == (9.0, 8.5)


def test_a_full_queue_refuses() -> None:
    # The first is in a step, the second waits, the third and fourth find the queue full; at 5 there is room again.
    found = served(0.0, 0.5, 1.0, 2.0, 5.5, settings=limited(max_queued_requests=1, max_batch_rows=1))
    assert (found.latencies, found.refused) == ((5.0, 9.5, 9.5), 2)


def test_a_replica_with_as_many_inside_as_it_may_refuses() -> None:
    found = served(0.0, 0.5, 1.0, settings=ReplicaSettings(max_concurrent_requests=2))
    assert (len(found.latencies), found.refused) == (2, 1)


def test_the_event_loop_takes_one_request_at_a_time() -> None:
    service = ServiceCosts(loop=2.0, path=0.25)
    own_core = ReplicaSettings(shared_core=False)
    # Read by 1, encoded and decoded by 6, answered by 7.
    assert served(0.0, service=service, settings=own_core).latencies == (7.25,)
    # The second is read by 2, while the first is encoded; joins at 5; both decode until 9.5, the second until 10.5 and 11.5.
    assert served(0.0, 0.0, service=service, settings=own_core).latencies == (10.75, 11.75)


def test_on_a_shared_core_the_loop_holds_up_the_step() -> None:
    service = ServiceCosts(loop=2.0, path=0.0)
    # The first step begins at 1 and the loop still reads the second until 2: it ends at 6, and the next at 10.5. The answer
    # to the first takes until 11.5, and the second's last step until 12.5; it is answered by 13.5.
    assert served(0.0, 0.0, service=service).latencies == (11.5, 13.5)
    # Here the second comes in the middle of the first step, which then takes a second more.
    assert served(0.0, 2.0, service=service).latencies == (11.5, 11.5)


def test_everything_takes_longer_where_others_compute() -> None:
    service = ServiceCosts(loop=2.0, path=0.0)
    assert served(0.0, service=service, settings=ReplicaSettings(slowness=2.0)).latencies == (14.0,)


def test_the_least_busy_replica_is_chosen_and_among_equals_the_longest_unused() -> None:
    replicas = [Replica(COSTS, FREE, ReplicaSettings()) for _ in range(3)]
    balance = LeastConnections(replicas)

    def choose() -> int:
        place = balance.choose()
        replicas[place].inside += 1
        balance.changed(place)
        return place

    def leave(place: int) -> None:
        replicas[place].inside -= 1
        balance.changed(place)

    assert [choose() for _ in range(4)] == [0, 1, 2, 0]
    leave(2)
    assert choose() == 2
    leave(2)
    leave(1)
    assert [choose(), choose(), choose()] == [1, 2, 1]


def test_replicas_share_the_requests() -> None:
    assert served(0.0, 0.0, 0.0, replicas=3).latencies == (5.0, 5.0, 5.0)


def test_only_requests_of_the_window_count() -> None:
    arrivals = Arrivals((0.0, 10.0, 20.0), (0, 0, 0))
    found = simulate(COSTS, FREE, ReplicaSettings(), 1, arrivals, from_seconds=10.0)
    assert found == Simulated(latencies=(5.0, 5.0), refused=0, seconds=15.0)


@pytest.mark.parametrize("load", [0.3, 0.7, 0.85])
def test_one_at_a_time_waits_as_long_as_in_theory(load: float) -> None:
    """M/D/1: one server, a constant time of service D. The mean wait is load * D / (2 * (1 - load))."""
    one_step = Work(source_tokens=16, claimed_rows=1, cache_bytes=1, rows=(1,))
    costs = EngineCosts((one_step,), 1, encode=Line(((16.0, 0.75),)), decode=Line(((1.0, 0.25),)))
    settings = ReplicaSettings(
        EngineSettings(max_batch_rows=1, max_queued_requests=100_000), max_concurrent_requests=100_000
    )
    arrivals = Arrivals.poisson(load, 60_000, 1, seed=0)
    latencies = simulate(costs, FREE, settings, 1, arrivals).latencies
    assert statistics.fmean(latencies) - 1.0 == pytest.approx(load / (2 * (1 - load)), rel=0.06)


def test_every_request_is_answered_or_refused_and_none_twice() -> None:
    works = tuple(Work(8 * n, 4, n, (1, *(4,) * n)) for n in range(1, 9))
    costs = EngineCosts(works, 6, encode=Line(((0.0, 0.01), (100.0, 0.1))), decode=Line(((1.0, 0.01), (64.0, 0.1))))
    settings = ReplicaSettings(EngineSettings(max_queued_requests=5, max_batch_rows=12), max_concurrent_requests=9)
    arrivals = Arrivals.poisson(60.0, 3_000, len(works), seed=1)
    found = simulate(costs, ServiceCosts(0.002, 0.001), settings, 3, arrivals)
    assert found.refused > 0
    assert len(found.latencies) + found.refused == 3_000
    least = min(costs.alone(work) for work in works) + 0.002 + 0.001
    assert min(found.latencies) == pytest.approx(least) or min(found.latencies) > least


def test_a_seed_gives_the_same_requests_and_another_one_others() -> None:
    def found(seed: int) -> Simulated:
        return simulate(COSTS, FREE, ReplicaSettings(), 4, Arrivals.poisson(0.5, 500, 1, seed))

    assert found(3) == found(3) != found(4)


def test_poisson_arrivals_come_at_their_rate() -> None:
    arrivals = Arrivals.poisson(50.0, 20_000, 3, seed=0)
    gaps = [after - before for before, after in zip(arrivals.times, arrivals.times[1:], strict=False)]
    assert statistics.fmean(gaps) == pytest.approx(1 / 50, rel=0.03)
    assert statistics.pstdev(gaps) == pytest.approx(1 / 50, rel=0.03)
    assert set(arrivals.works) == {0, 1, 2}
