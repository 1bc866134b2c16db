from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from types import SimpleNamespace
from typing import Any

import pytest

from serving.service.errors import ErrorCode, ServiceError
from serving.service.models import CheckedModel, ModelError, Models, ServedModel, check_model, default_models


@pytest.fixture(scope="module")
def checked(artifacts: dict[str, Path]) -> list[CheckedModel]:
    return [check_model(name, folder, 64) for name, folder in artifacts.items()]


@pytest.fixture
def copy(artifacts: dict[str, Path], tmp_path: Path) -> Path:
    """A translator to damage."""
    return copytree(artifacts["translator"], tmp_path / "copy")


def change(folder: Path, file: str, edit: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads((folder / file).read_text())
    edit(content)
    (folder / file).write_text(json.dumps(content))


def test_a_checked_model_says_what_it_is(checked: list[CheckedModel]) -> None:
    model = checked[0]
    assert (model.name, model.scheme, model.layers, model.vocab_size > 7) == ("translator", "8-8-8", "1-1", True)
    assert model.compression_ratio == pytest.approx((1 << 20) / model.size_bytes)


def test_damage_is_found_before_the_start(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"^mine: .*model.safetensors is missing"):
        check_model("mine", copy, 64)


def test_a_tokenizer_at_odds_is_found(copy: Path) -> None:
    (copy / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"tokenizer.json is missing"):
        check_model("mine", copy, 64)


def test_unsupported_decoding_is_found(copy: Path) -> None:
    change(copy, "generation_config.json", lambda config: config.update(num_beam_groups=2))
    with pytest.raises(ModelError, match=r"generation_config.json: num_beam_groups = 2 is not supported"):
        check_model("mine", copy, 64)


def test_default_beams_must_fit_the_batch(copy: Path) -> None:
    with pytest.raises(ModelError, match=r"default of 2 beams is above max_batch_rows = 1"):
        check_model("mine", copy, 1)


def test_the_first_model_of_a_task_is_its_default_unless_chosen(artifacts: dict[str, Path]) -> None:
    models = [check_model(name, artifacts["translator"], 64) for name in ("one", "two")]
    assert default_models(models, {}) == {"translation": "one"}
    assert default_models(models, {"translation": "two"}) == {"translation": "two"}


@pytest.fixture(scope="module")
def models(checked: list[CheckedModel]) -> Models:
    # Choosing and describing ask nothing else of an engine.
    engine: Any = SimpleNamespace(loaded=True)
    served = [ServedModel(model, model.codec(), engine) for model in checked[:2]]
    return Models(served, {"translation": "translator", "summarization": "summarizer"})


def test_models_are_chosen_by_name_or_task(models: Models) -> None:
    assert models.choose("translation", "translator").name == "translator"
    assert models.choose("summarization", None).name == "summarizer"


@pytest.mark.parametrize(
    ("task", "name", "code", "message"),
    [
        ("translation", "x", ErrorCode.UNKNOWN_MODEL, "model = 'x' is not served; for translation there is translator"),
        (
            "translation",
            "summarizer",
            ErrorCode.WRONG_TASK,
            "summarizer does summarization, not translation; for that there is translator",
        ),
        ("question-answering", None, ErrorCode.UNKNOWN_MODEL, "no model for question-answering is served"),
        (
            "question-answering",
            "x",
            ErrorCode.UNKNOWN_MODEL,
            "model = 'x' is not served; for question-answering there is none",
        ),
    ],
)
def test_other_choices_are_refused(models: Models, task: Any, name: str | None, code: ErrorCode, message: str) -> None:
    with pytest.raises(ServiceError) as refused:
        models.choose(task, name)
    assert (refused.value.code, refused.value.message, refused.value.field) == (code, message, "model")


def test_descriptions_mark_defaults(models: Models) -> None:
    described = models.describe()
    assert [(model.name, model.task, model.is_default) for model in described] == [
        ("translator", "translation", True),
        ("summarizer", "summarization", True),
    ]
    assert described[0].defaults.max_new_tokens == 12
