"""One config on one machine and on two; and what a request sees of a machine that dies.

The tests go on from each other: machines are dear.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from tests.cluster.asking import CLIENTS, QUESTIONS, TEXTS, Answer, Question, load
from tests.cluster.cluster import Cluster, cluster, metrics, upstreams
from tests.cluster.configuration import serve_config
from tests.cluster.nodes import Machine, Network

EACH = 3
"""Clients of each kind under load. Two kinds stream."""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "serve.yaml"
    path.write_text(serve_config())
    return path


@pytest.fixture(scope="module")
def expected(network: Network, config: Path) -> Mapping[Question, Answer]:
    """What one machine answers, with both replicas on it."""
    with cluster(network) as running:
        machine = running.add(cpus=2)
        running.deploy(config)
        running.wait_for_replicas(machine, machine)
        return answers(machine)


@pytest.fixture(scope="module")
def two(network: Network, config: Path, expected: Mapping[Question, Answer]) -> Iterator[Cluster]:
    """The same config on two machines that have room for one replica each."""
    with cluster(network) as running:
        machines = [running.add(cpus=1), running.add(cpus=1)]
        running.deploy(config)
        running.wait_for_replicas(*machines)
        yield running


def answers(machine: Machine) -> dict[Question, Answer]:
    found: dict[Question, Answer] = {}
    for kind in CLIENTS:
        client = kind(machine)
        for question in QUESTIONS:
            # The same over each protocol, streamed or not.
            assert client.ask(question) == found.setdefault(question, client.ask(question))
        client.close()
    return found


def test_every_machine_answers_as_one_alone_does(two: Cluster, expected: Mapping[Question, Answer]) -> None:
    before = [metrics(machine)["dqbart_requests_total"] for machine in two.machines]
    for machine in two.machines:
        assert answers(machine) == expected
    after = [metrics(machine)["dqbart_requests_total"] for machine in two.machines]
    served = [now - then for now, then in zip(after, before, strict=True)]
    print(f"requests answered by each machine's replica: {served}")
    assert sum(served) == 2 * 2 * len(CLIENTS) * len(QUESTIONS)
    assert min(served) > 0


def test_a_machine_counts_what_its_own_replica_answered(two: Cluster) -> None:
    """Asked at the replica's port, as HAProxy does, so that it is known whose each request is."""
    asked = {machine.address: count for machine, count in zip(two.machines, (3, 5), strict=True)}
    before = {machine.address: metrics(machine) for machine in two.machines}
    for host, port in upstreams(two.machines[0]):
        for number in range(asked[host]):
            body = {"text": [TEXTS[0]] * (number + 1), "source_language": "de", "parameters": {"max_new_tokens": 4}}
            httpx.post(f"http://{host}:{port}/v1/translate", json=body, timeout=60).raise_for_status()
    for machine in two.machines:
        then, now = before[machine.address], metrics(machine)
        count = asked[machine.address]
        assert now["dqbart_requests_total"] - then["dqbart_requests_total"] == count
        assert now["dqbart_request_duration_seconds_count"] - then["dqbart_request_duration_seconds_count"] == count
        assert now["dqbart_inputs_total"] - then["dqbart_inputs_total"] == count * (count + 1) / 2
        assert now["dqbart_replicas"] == now["dqbart_replica_starts_total"] == 1
        assert now["dqbart_replicas_desired"] == 2


def test_a_killed_machine_costs_only_what_it_was_streaming(two: Cluster, expected: Mapping[Question, Answer]) -> None:
    head, other = two.machines
    with load(head, expected, EACH) as asked:
        asked.wait_for_answers(40)
        in_flight = metrics(other)["dqbart_ongoing_requests"]
        other.kill()
        asked.wait_for_answers(100)
    print(f"killed with {in_flight:g} requests in flight: {asked}")
    assert in_flight > 0
    assert asked.lost == []
    assert len(asked.faults) <= 2 * EACH
    assert "other tokens" not in {each.fault for each in asked.faults}


def test_its_replica_runs_on_the_next_machine_that_joins(two: Cluster, expected: Mapping[Question, Answer]) -> None:
    head, _ = two.machines
    with load(head, expected, each=1) as asked:
        joined = two.add(cpus=1)
        two.wait_for_replicas(head, joined)
        asked.wait_for_answers(40)
    assert asked.faults == []
    assert metrics(joined)["dqbart_requests_total"] > 0
    assert answers(joined) == expected


def test_a_machine_that_nobody_hears_of_costs_no_more(two: Cluster, expected: Mapping[Question, Answer]) -> None:
    """No connection is closed or refused: it is as if its cable was pulled out."""
    head, other = two.machines[0], two.machines[-1]
    with load(head, expected, EACH) as asked:
        asked.wait_for_answers(40)
        in_flight = metrics(other)["dqbart_ongoing_requests"]
        other.pull_out()
        asked.wait_for_answers(100)
        two.wait(lambda: two.places() == [head.address], "the replica is still thought to run")
        asked.wait_for_answers(40)
    print(f"pulled out with {in_flight:g} requests in flight: {asked}")
    assert in_flight > 0
    assert asked.lost == []
    assert len(asked.faults) <= 2 * EACH
    assert "other tokens" not in {each.fault for each in asked.faults}
