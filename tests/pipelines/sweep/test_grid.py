import pytest

from pipelines.sweep.grid import file_name, runs_of

COMMON = {"task": "summarization", "train": "a.jsonl", "valid": "b.jsonl", "learning_rate": "1e-3"}


def test_the_grid_goes_bits_by_bits_and_the_extra_runs_follow() -> None:
    runs = runs_of(COMMON, ["6-6", "6-3"], ["2-2-8", "full"], [{"name": "no KL", "bits": "8-8-8", "logits-weight": 0}])
    assert [run.name for run in runs] == ["6-6 2-2-8", "6-3 2-2-8", "6-6 full", "6-3 full", "no KL"]
    assert [(run.layers, run.bits, run.extra) for run in runs[2:]] == [
        ("6-6", "full", False),
        ("6-3", "full", False),
        ("6-3", "8-8-8", True),  # layers are the command's default
    ]
    assert runs[-1].own == {"logits_weight": 0}
    assert runs[-1].settings == {**COMMON, "bits": "8-8-8", "logits_weight": 0}


def test_the_grid_in_each_time_and_without_training() -> None:
    common = {**COMMON, "max_steps": 100}
    runs = runs_of(common, ["6-6", "6-3"], ["2-4-8"], [{"name": "by steps"}], minutes=[5, 0, 0.5])
    assert [run.name for run in runs[:3]] == ["6-6 2-4-8 0 min", "6-6 2-4-8 0.5 min", "6-6 2-4-8 5 min"]
    assert [run.minutes for run in runs] == [0, 0.5, 5, 0, 0.5, 5, None]
    untrained, short, *_, extra = runs
    assert untrained.settings == {**COMMON, "layers": "6-6", "bits": "2-4-8", "max_steps": 0}
    assert short.settings == {**COMMON, "layers": "6-6", "bits": "2-4-8", "max_minutes": 0.5}
    assert short.own == {}
    assert extra.settings["max_steps"] == 100


def test_minutes_without_a_grid_are_refused() -> None:
    with pytest.raises(ValueError, match="minutes are of the grid, which layers and bits make"):
        runs_of(COMMON, [], [], [{"name": "x"}], minutes=[1])


def test_what_an_extra_run_sets_wins_however_it_is_spelt() -> None:
    (run,) = runs_of(COMMON, [], [], [{"name": "slow", "learning-rate": 1e-5}])
    assert run.settings["learning_rate"] == 1e-5


def test_every_fault_is_named_before_anything_runs() -> None:
    extra = [{"name": "x", "learning_rte": 1}, {"bits": "2-2-8"}, {"name": "6-3 2-2-8"}, {"name": "y", "output": "z"}]
    with pytest.raises(ValueError, match="6-x 2-2-8: layers = '6-x'") as caught:
        runs_of(COMMON, ["6-x", "6-3"], ["2-2-8"], extra)
    for fault in (
        "x: learning_rte: unknown setting",
        "extra.1: name = None",
        "6-3 2-2-8: there is '6-3 2-2-8' already",
        "y: output: the sweep sets it itself",
    ):
        assert fault in str(caught.value)


@pytest.mark.parametrize(("layers", "bits"), [([], []), (["6-3"], []), ([], ["2-2-8"])])
def test_a_sweep_without_runs_is_refused(layers: list[str], bits: list[str]) -> None:
    with pytest.raises(ValueError, match="grid"):
        runs_of(COMMON, layers, bits, [])


def test_the_environment_is_no_setting_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DQBART_LAYERS", "1-1")
    (run,) = runs_of(COMMON, [], [], [{"name": "default"}])
    assert run.layers == "6-3"


def test_names_of_runs_are_names_of_folders() -> None:
    assert file_name("6-3 2-2-8/matrix") == "6-3_2-2-8_matrix"
    assert file_name("../..") == ""
