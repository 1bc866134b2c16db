"""Recipes as sets of flags: each can be given otherwise, and other flags stay what they are."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from pipelines.compressing.compress import Compress
from pipelines.compressing.recipes import DEFAULT, RECIPES, flags_of, told
from pipelines.sweep.grid import NO_ENVIRONMENT

REQUIRED = {"teacher": "teacher", "train": "a.jsonl", "valid": "b.jsonl", "output": Path("student"), "task": "summarization"}


def compress(**given: object) -> Compress:
    return Compress(**NO_ENVIRONMENT, **REQUIRED, **given)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_gives_its_flags_and_no_others(recipe: str) -> None:
    plain = compress().model_dump()
    assert compress(recipe=recipe).model_dump() == {**plain, "recipe": recipe, **RECIPES[recipe]}


def test_all_recipes_decide_the_same_flags() -> None:
    assert len({frozenset(flags) for flags in RECIPES.values()}) == 1


def test_without_a_name_it_is_the_default() -> None:
    assert compress().model_dump() == compress(recipe=DEFAULT).model_dump()


def test_what_is_given_beside_a_recipe_wins_and_is_told() -> None:
    settings = compress(recipe="tbt", learning_rate=1e-3, task_weight=0)
    assert (settings.learning_rate, settings.ternary) == (1e-3, "tbt")
    preset = flags_of("tbt", 768)
    line = told("tbt", preset, settings.model_dump())
    assert line.startswith("recipe tbt: --learning-rate 0.0003 --schedule linear")
    assert line.endswith("; but --learning-rate 0.001"), "what equals the recipe's own is no departure"
    assert "but" not in told("tbt", preset, compress(recipe="tbt").model_dump())


def test_a_learning_rate_that_no_recipe_names_is_by_width() -> None:
    assert flags_of("ours", 256) == {**RECIPES["ours"], "learning_rate": 1e-3}
    assert flags_of("ours", 1024)["learning_rate"] == 2.5e-4
    assert flags_of("ours", 32)["learning_rate"] == 1e-3
    assert flags_of("dq-bart", 1024) == RECIPES["dq-bart"]


def test_an_unknown_recipe_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValidationError, match="'dq-bart', 'tbt' or 'ours'"):
        compress(recipe="paper")


def test_a_run_ends_by_steps_or_by_time() -> None:
    with pytest.raises(
        ValidationError, match=r"max_steps = 5, max_minutes = 1\.5: a run ends by steps or by time, give one"
    ):
        compress(max_steps=5, max_minutes=1.5)
