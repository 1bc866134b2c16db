from compress.training.clock import Clock


def test_only_what_runs_counts_and_each_second_once() -> None:
    times = iter([10.0, 13.0, 100.0, 101.5, 200.0, 204.0])
    clock = Clock(lambda: next(times))
    assert clock.take() == 0.0
    for _ in range(2):
        with clock.running():
            pass
    assert clock.take() == 4.5
    with clock.running():
        pass
    assert (clock.take(), clock.take()) == (4.0, 0.0)
