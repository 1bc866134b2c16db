"""Texts as people write them, through the whole service with the translator that is shipped."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.engine.async_engine import AsyncEngine
from serving.engine.engine import load_engine
from serving.engine.loop import EngineLoop
from serving.engine.settings import EngineSettings
from serving.observability.metrics import Metrics
from serving.service.models import Models, ServedModel, check_model, default_models
from serving.service.requests import TranslateRequest
from serving.service.results import Result
from serving.service.service import Limits, Service

SHIPPED = Path(__file__).parents[3] / "models" / "mbart-de-en-2-4-8"
LIMITS = Limits(max_inputs=32, max_source_characters=50_000, max_windows=512, max_rows=64, request_timeout_seconds=120)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    checked = check_model("translator", SHIPPED, LIMITS.max_rows)
    loop = EngineLoop()
    engine = AsyncEngine(loop.add(load_engine(SHIPPED, EngineSettings())))
    yield Service(Models([ServedModel(checked, checked.codec(), engine)], default_models([checked], {})), LIMITS, Metrics())
    loop.close()


def translated(service: Service, *texts: str, **more: Any) -> list[Result]:
    request = TranslateRequest(text=list(texts), source_language="de", target_language="en", **more)
    return list(asyncio.run(service.generate(request, "http")).results)


@pytest.mark.parametrize(
    ("pasted", "plain"),
    [
        ("Ich habe 5\u00a0Äpfel.", "Ich habe 5 Äpfel."),
        ("\ufeffGuten Mor\u00adgen!", "Guten Morgen!"),
        ("Das kostet 10\u202f000\u2009Euro.", "Das kostet 10 000 Euro."),
        ("Wie geht\u200b es A\u0308pfeln?", "Wie geht es Äpfeln?"),
    ],
)
@pytest.mark.parametrize("truncation", ["error", "chunk"])
def test_what_is_pasted_reads_as_what_is_typed(service: Service, pasted: str, plain: str, truncation: str) -> None:
    one, other = translated(service, pasted, plain, truncation=truncation)
    assert (one.text, one.unknown_tokens) == (other.text, 0)


@pytest.mark.parametrize("truncation", ["error", "chunk"])
def test_what_is_around_a_sentence_comes_back(service: Service, truncation: str) -> None:
    texts = ["\nGuten Morgen!\n", "Guten Morgen! 😊", "😊", " 42 €", "東京"]
    results = translated(service, *texts, truncation=truncation)
    assert [each.text for each in results] == ["\nGood morning!\n", "Good morning! 😊", "😊", " 42 €", "東京"]
    assert [each.unknown_tokens for each in results] == [0] * 5


def test_lists_keep_their_lines(service: Service) -> None:
    (result,) = translated(service, "Einkaufsliste:\n- Milch\n- Brot\n- Käse")
    lines = result.text.split("\n")
    assert [line[:2] for line in lines[1:]] == ["- "] * 3
    assert ["milk" in lines[1], "bread" in lines[2], "cheese" in lines[3]] == [True] * 3


def test_no_sentence_is_lost(service: Service) -> None:
    (result,) = translated(
        service, "Das ist mein Hund. Er heißt Max. Er ist fünf Jahre alt. Wir gehen jeden Tag in den Park."
    )
    assert result.truncation.windows == 4
    assert result.text.startswith("That's my dog. ")
    assert result.text.endswith("He is five years old. We go to the park every day.")


def test_sixty_sentences_are_translated(service: Service) -> None:
    (result,) = translated(service, " ".join(["Guten Morgen!"] * 60))
    assert result.text == " ".join(["Good morning!"] * 60)


def test_what_the_model_does_not_know_is_told(service: Service) -> None:
    (result,) = translated(service, "Ich 😊 liebe dich. Wir 🚀 fliegen.")
    assert result.unknown_tokens == 2
