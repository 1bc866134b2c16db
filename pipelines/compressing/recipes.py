"""Recipes of `dqbart compress`: sets of flags under a name, each of which may be given otherwise beside it.

    dq-bart    Li et al., ACL 2022 (arXiv 2203.11239)
    tbt        Liu et al., ACL 2023 (arXiv 2306.01841): ternary weights by their mean, the teacher's distribution in place
               of labels and logits, no attention maps
    ours       what was best at equal time (docs/compression.md)

Flags of all commands that train, such as batches, are no part of a recipe, nor are layers and bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Recipe = Literal["dq-bart", "tbt", "ours"]

DEFAULT: Recipe = "ours"

HIGHEST_RATE, RATE_BY_WIDTH = 1e-3, 0.256
"""Learning rate, and rate times the model's width: where a recipe names none, the lower of the two is taken. 1e-3 was better
than 3e-4 at width 256; of BART's and mBART's, 768 and 1,024, TBT reports 1e-4 to 3e-4."""

RECIPES: Mapping[Recipe, Mapping[str, Any]] = {
    "dq-bart": {
        "learning_rate": 3e-5,
        "schedule": "linear",
        "task_weight": 1.0,
        "logits_weight": 1.0,
        "kl_weight": 0.0,
        "attention_weight": 1.0,
        "hidden_weight": 1.0,
        "scales": "computed",
        "ternary": "twn",
        "clip": 2.5,
    },
    "tbt": {
        "learning_rate": 3e-4,
        "schedule": "linear",
        "task_weight": 0.0,
        "logits_weight": 0.0,
        "kl_weight": 1.0,
        "attention_weight": 0.0,
        "hidden_weight": 1.0,
        "scales": "computed",
        "ternary": "tbt",
        "clip": 0.0,
    },
    "ours": {
        "learning_rate": None,
        "schedule": "cosine",
        "task_weight": 1.0,
        "logits_weight": 1.0,
        "kl_weight": 0.0,
        "attention_weight": 0.0,
        "hidden_weight": 0.01,
        "scales": "computed",
        "ternary": "twn",
        "clip": 2.5,
    },
}
"""By name; all have the same flags."""

DEFAULTS = RECIPES[DEFAULT]


def with_recipe(given: Any) -> Any:
    """Settings with the flags of their recipe, where they do not give them themselves; others are left to be refused."""
    if not isinstance(given, Mapping):
        return given
    return {**RECIPES.get(given.get("recipe", DEFAULT), {}), **given}


def flags_of(recipe: Recipe, width: int) -> dict[str, Any]:
    """The flags of a recipe for a model of so many dimensions."""
    flags = dict(RECIPES[recipe])
    if flags["learning_rate"] is None:
        flags["learning_rate"] = min(HIGHEST_RATE, RATE_BY_WIDTH / width)
    return flags


def told(recipe: Recipe, preset: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """The recipe as a line for the user: its flags, and those that were given otherwise."""
    shown = f"recipe {recipe}: {_flags(preset)}"
    own = {name: settings[name] for name, value in preset.items() if settings[name] != value}
    return f"{shown}; but {_flags(own)}" if own else shown


def _flags(settings: Mapping[str, Any]) -> str:
    return " ".join(
        f"--{name.replace('_', '-')} {value:g}" if isinstance(value, float) else f"--{name.replace('_', '-')} {value}"
        for name, value in settings.items()
    )
