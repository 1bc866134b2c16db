"""Both sides in one case, by services whose latency is a formula; and what is made of it."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

pytest.importorskip("ctranslate2", reason="the peer CTranslate2 comes with the bench extra")

from benchmarks.peer_service import peer_bench
from benchmarks.peer_service.figures import OURS, PEER, Answers, Compared
from benchmarks.peer_service.peer_bench import QUICK, pooled
from benchmarks.peer_service.settings import PeerSettings, Tried
from benchmarks.peer_service.tables import peer_tables
from benchmarks.service import counting
from benchmarks.service.counting import Service
from benchmarks.service.load import ANSWERED, Load, Outcome
from benchmarks.service.senders import Target

CARRIED = {"ours": 100.0, "peer": 25.0}
LIMITS = (0.01, 0.03, 1.0)
SENT: list[tuple[str, Load]] = []


def send(target: Target, load: Load) -> Outcome:
    SENT.append((target.address, load))
    carried = CARRIED[target.address]
    if load.rate is None:
        assert load.requests is not None
        return Outcome((0.1,), {ANSWERED: load.requests}, load.requests / carried, 0.0)
    if load.rate >= carried:
        return Outcome((), {"unfinished": 50}, load.seconds, 0.0)
    latency = 1 / carried / (1 - load.rate / carried)
    return Outcome((latency,) * 50, {ANSWERED: 50}, load.seconds, 0.1 * load.seconds)


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> Compared:
    SENT.clear()
    clock = iter(range(10_000))
    monkeypatch.setattr(counting, "cpu_seconds", lambda pid: float(next(clock)))
    answers = {"ours": Answers(("a", "b"), (4, 6)), "peer": Answers(("a", "c"), (4, 8))}
    monkeypatch.setattr(peer_bench, "ask_all", lambda target: answers[target.address])
    services = {
        side: Service(Target("http", address, "/", (b"",)), 1, send) for side, address in ((OURS, "ours"), (PEER, "peer"))
    }
    sides = peer_bench.measured(services, 32, LIMITS, QUICK)
    best = PeerSettings(1, 2, 1)
    return Compared("m, greedy", sides, Tried(best, {best: 25.0, PeerSettings(1, 1, 2): 24.0}, {best: 0.2}), LIMITS)


def test_the_highest_rates_and_their_ratio(compared: Compared) -> None:
    ratio = compared.ratio(1.0)
    assert ratio is not None
    assert 3.2 < ratio < 4.8
    assert compared.ratio(0.01) is None, "neither side answers so fast"
    assert compared.ratio(0.03) is None, "the peer takes 40 ms alone"
    assert compared.sides[OURS].search.highest(0.03) > 55


def test_the_same_rates_and_arrivals_for_both_in_turns(compared: Compared) -> None:
    assert [round(rate, 1) for rate in compared.sides[OURS].at_rates] == [12.5, 20.0]
    assert compared.sides[OURS].at_rates.keys() == compared.sides[PEER].at_rates.keys()
    open_loads = [(address, load) for address, load in SENT if load.rate is not None]
    for (first, ours), (second, theirs) in zip(open_loads[:4:2], open_loads[1:4:2], strict=True):
        assert (first, second) == ("ours", "peer")
        assert ours == theirs
    assert all(load.seconds <= QUICK.most_seconds for _, load in open_loads)
    drained = [load.requests for _, load in SENT[::2]]
    assert set(drained) == {1}, "before each load, what was left of the last one"


def test_work_is_counted(compared: Compared) -> None:
    side = compared.sides[PEER]
    assert (compared.same_texts, side.answers.mean_tokens) == (0.5, 6.0)
    assert side.client_share == pytest.approx(0.1)
    assert side.cpu_of_a_request == pytest.approx(2 * (3.2 / 4.0 + 2.0 / 2.5) / 2 / 100, rel=0.2)


def test_tables(compared: Compared) -> None:
    console = Console(width=160, file=io.StringIO())
    with console.capture() as captured:
        for table in peer_tables([compared]):
            console.print(table)
    printed = captured.get()
    for expected in ("m, greedy", "none", "no limit", "4.00x", "50%", "1 x 2 threads", "taken", "tokens an answer"):
        assert expected in printed


def test_json_has_it_all(compared: Compared) -> None:
    entries = json.loads(json.dumps(compared.as_json()))
    assert [entry["ratio"] is None for entry in entries["at_equal_p99"]] == [True, True, False]
    assert entries["sides"]["dqbart"]["many_clients"]["throughput"] == 100
    assert len(entries["sides"]["dqbart"]["trials"]) >= 3


def test_rounds_are_pooled() -> None:
    both = pooled([Outcome((1.0,), {ANSWERED: 1}, 2.0, 0.5), Outcome((), {"429": 2, ANSWERED: 0}, 3.0, 0.25)])
    assert both == Outcome((1.0,), {ANSWERED: 1, "429": 2}, 5.0, 0.75)
