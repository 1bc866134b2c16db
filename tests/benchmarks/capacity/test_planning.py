"""Replicas for a load, on costs whose answer can be worked out."""

from __future__ import annotations

import math

import pytest

from benchmarks.capacity.costs import EngineCosts, Line, ServiceCosts, Work
from benchmarks.capacity.planning import FULLEST, Load, Planner, headroom_at, needs_at, points_at
from benchmarks.capacity.replica import ReplicaSettings
from serving.engine.settings import EngineSettings

ONE_AT_A_TIME = ReplicaSettings(EngineSettings(max_batch_rows=1))


def planner(settings: ReplicaSettings = ONE_AT_A_TIME, requests: int = 2_000) -> Planner:
    """Of requests that take 10 ms of encoding and 10 of decoding."""
    work = Work(source_tokens=16, claimed_rows=1, cache_bytes=1, rows=(1,))
    costs = EngineCosts((work,), 1, encode=Line(((16.0, 0.01),)), decode=Line(((1.0, 0.01),)))
    return Planner(costs, ServiceCosts(0.0, 0.005), settings, requests)


def test_most_is_what_one_replica_does_without_a_pause() -> None:
    assert planner().most() == pytest.approx(50.0)
    # Encoded together, for encoding costs the same for any number here.
    assert planner(ReplicaSettings()).most() > 500.0


@pytest.mark.parametrize(("shared_core", "most"), [(True, 1 / 0.03), (False, 1 / 0.02)])
def test_the_event_loop_takes_its_part_of_a_shared_core(shared_core: bool, most: float) -> None:
    settings = ReplicaSettings(EngineSettings(max_batch_rows=1), shared_core=shared_core)
    plan = planner(settings)
    plan.service = ServiceCosts(0.01, 0.0)
    assert plan.most() == pytest.approx(most)
    # And what the simulation does with that is the same: a little less goes well, a little more does not.
    assert plan.run(0.9 * most, 1).refused == 0
    assert plan.suddenly(2 * most, 1).refused > 0


def test_alone_a_request_waits_for_nobody() -> None:
    assert planner().alone().p99 == pytest.approx(0.025)


def test_a_limit_below_what_a_request_takes_cannot_be_held() -> None:
    assert planner().replicas(Load(1.0, 0.02)) is None
    assert planner().highest_rate(0.02) is None
    assert headroom_at(planner(), 100.0, (0.02,)) is None


@pytest.mark.parametrize("limit", [0.03, 0.1, 5.0])
def test_the_fewest_replicas_hold_the_limit_and_one_less_does_not(limit: float) -> None:
    plan = planner()
    load = Load(400.0, limit)
    replicas = plan.replicas(load)
    assert replicas is not None
    assert plan.run(load.rate, replicas).p99 <= limit
    fewer = replicas - 1
    assert plan.run(load.rate, fewer).p99 > limit or load.rate > FULLEST * fewer * plan.most()


def test_a_patient_limit_takes_as_many_as_the_work_does() -> None:
    assert planner().replicas(Load(400.0, 60.0)) == math.ceil(400 / (FULLEST * 50))


def test_more_requests_and_shorter_limits_need_more_replicas() -> None:
    plan = planner()
    limits = (0.03, 0.1, 1.0)
    few, many = (list(needs_at(plan, rate, limits).replicas.values()) for rate in (100.0, 400.0))
    assert few == sorted(few, key=lambda count: -(count or 0))
    assert all((a or 0) < (b or 0) for a, b in zip(few, many, strict=True))


def test_one_replica_does_less_within_a_limit_than_at_most() -> None:
    plan = planner()
    short, long = plan.highest_rate(0.05), plan.highest_rate(1.0)
    assert short is not None
    assert long is not None
    assert 0 < short < long <= FULLEST * plan.most()


def test_headroom_is_for_the_shortest_limit_that_can_be_held() -> None:
    headroom = headroom_at(planner(), 100.0, (1.0, 0.05, 0.02))
    assert headroom is not None
    assert headroom.load == Load(100.0, 0.05)
    latencies = [grown.answered.p99 for grown in headroom.grown]
    replicas = [grown.replicas for grown in headroom.grown]
    assert latencies == sorted(latencies)
    assert latencies[-1] > 0.05
    assert replicas == sorted(replicas)
    assert replicas[-1] > replicas[0]


def test_many_replicas_answer_sooner_at_the_same_load_of_each() -> None:
    plan = planner()
    (one,), (hundred,) = points_at(plan, 1, (0.8,)), points_at(plan, 100, (0.8,))
    assert hundred.answered.p99 < one.answered.p99 / 2
