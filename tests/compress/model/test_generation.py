"""What a checkpoint leaves unsaid of how it generates."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from transformers import GenerationConfig

from compress.model.generation import eos_token_ids, settle_generation


def settled(
    own_end: int | None = None, longest: int | None = None, config: dict[str, Any] | None = None, **said: Any
) -> Any:
    given = {"eos_token_id": None, "decoder_start_token_id": None, "max_position_embeddings": 64, **(config or {})}
    model: Any = SimpleNamespace(generation_config=GenerationConfig(**said), config=SimpleNamespace(**given))
    settle_generation(model, SimpleNamespace(eos_token_id=own_end), longest)
    return model


def test_what_is_said_stays() -> None:
    said = {"decoder_start_token_id": 5, "eos_token_id": [6, 7], "max_length": 9, "bos_token_id": 1}
    model = settled(3, 30, {"eos_token_id": 2, "decoder_start_token_id": 2}, **said)
    assert {name: getattr(model.generation_config, name) for name in said} == said
    assert eos_token_ids(model) == (6, 7)


@pytest.mark.parametrize(
    ("said", "config", "start"),
    [({"bos_token_id": 1}, {"decoder_start_token_id": 4}, 1), ({}, {"decoder_start_token_id": 4}, 4), ({}, {}, None)],
)
def test_an_output_starts_as_generate_starts_it(said: dict[str, int], config: dict[str, int], start: int | None) -> None:
    assert settled(config=config, **said).generation_config.decoder_start_token_id == start


@pytest.mark.parametrize(("config", "own", "ends"), [({"eos_token_id": 4}, 3, (4,)), ({}, 3, (3,)), ({}, None, ())])
def test_the_tokenizer_is_asked_for_an_end_last(config: dict[str, int], own: int | None, ends: tuple[int, ...]) -> None:
    assert eos_token_ids(settled(own, config=config)) == ends


@pytest.mark.parametrize(
    ("said", "longest", "length"),
    [({}, None, 64), ({}, 30, 31), ({}, 500, 64), ({"max_length": 9}, 30, 9), ({"max_new_tokens": 5}, 30, None)],
)
def test_a_length_is_said_once(said: dict[str, int], longest: int | None, length: int | None) -> None:
    assert settled(longest=longest, **said).generation_config.max_length == length
