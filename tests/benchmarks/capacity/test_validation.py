"""What the simulation is told of a load that a service got, and of the machine that both were on."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.capacity.calibration import Calibration
from benchmarks.capacity.costs import EngineCosts, Line, ServiceCosts, Work
from benchmarks.capacity.replica import ReplicaSettings
from benchmarks.capacity.simulation import Simulated
from benchmarks.capacity.tables import markdown, validation_table
from benchmarks.capacity.texts import Asked
from benchmarks.capacity.validation import Compared, LoopCost, arrivals_of, service_costs, settings_here
from benchmarks.service.load import ANSWERED, Load, Outcome, drive
from quant.card import Card

WORKS = tuple(Work(16, 1, 1, (1,) * steps) for steps in (1, 2))
COSTS = EngineCosts(WORKS, 1, encode=Line(((16.0, 0.010),)), decode=Line(((1.0, 0.002),)))
CARD = Card("summarization", "{source}", None, (), (), (), "</s>", None, (), False, 512, "teacher", "6-6", 1)
CALIBRATION = Calibration(CARD, Asked("m", "summarization", ({"source": "x"},) * 2, None), COSTS, (1, 2), "native")


class Counting:
    """A sender that answers at once."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    async def send(self, number: int) -> str:
        self.numbers.append(number)
        return ANSWERED

    async def close(self) -> None:
        pass


def test_the_simulation_gets_the_requests_that_the_service_gets() -> None:
    load = Load(seconds=0.2, rate=200.0, warm_up=0.1)
    sender = Counting()
    outcome = asyncio.run(drive(sender, load))
    arrivals = arrivals_of(load, 200.0, 3)
    assert arrivals.works == tuple(number % 3 for number in sender.numbers)
    assert sum(time >= load.warm_up for time in arrivals.times) == outcome.codes[ANSWERED]


def test_the_path_is_what_engine_and_loop_leave_of_a_request() -> None:
    sent: list[Load] = []

    def send(load: Load) -> Outcome:
        sent.append(load)
        return Outcome((0.020, 0.022), {ANSWERED: 2}, 1.0, 0.0)

    # The engine takes 12 ms and 14 ms, the loop 3.
    costs = service_costs(CALIBRATION, LoopCost(0.003, 0.001), send, 10)
    assert (costs.loop, costs.outside) == (0.003, 0.001)
    assert costs.path == pytest.approx(0.005)
    assert (sent[0].clients, sent[0].requests) == (1, 10)


def test_client_and_proxy_take_from_replicas_that_share_their_cores() -> None:
    service = ServiceCosts(0.001, 0.0, outside=0.002)
    one, two = (settings_here(ReplicaSettings(), service, replicas, 2, 100.0) for replicas in (1, 2))
    assert (one.shared_core, one.slowness) == (False, 1.0)
    assert two.shared_core
    assert two.slowness == pytest.approx(2 / 1.8)


def test_the_table_has_relative_errors() -> None:
    measured = Outcome((0.010, 0.040), {ANSWERED: 2, "429": 1}, 2.0, 0.0)
    simulated = Simulated((0.011, 0.030), 0, 1.9)
    table = validation_table([Compared("m", 2, 30.0, measured, simulated, 2.0)])
    row = "| m | 2 | 30 | 1.0, 1.0, +0% | 10.0, 11.0, +10% | 40.0, 30.0, -25% | 1 429 |"
    assert table.splitlines()[-1] == row


def test_a_table_in_markdown() -> None:
    assert markdown(["a", "b"], [["x", "1"], ["y", "2"]]) == "| a | b |\n| --- | ---: |\n| x | 1 |\n| y | 2 |\n"
