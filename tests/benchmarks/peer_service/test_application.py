"""The peer's service answers what CTranslate2 gives for the ids that ours would decode."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from benchmarks.service.server_process import ServerFailed, free_port
from benchmarks.service.words import random_texts, write_words
from quant.artifact import read_artifact

ctranslate2 = pytest.importorskip("ctranslate2", reason="the peer CTranslate2 comes with the bench extra")

from benchmarks.peer_service.application import ENVIRONMENT, Setup, application  # noqa: E402
from benchmarks.peer_service.cases import subjects_of  # noqa: E402
from benchmarks.peer_service.peer_bench import ask_all  # noqa: E402
from benchmarks.peer_service.process import running_peer  # noqa: E402
from serving.service.models import ModelError  # noqa: E402

MODELS = Path(__file__).parents[3] / "models"
WORDS = 203


@pytest.fixture(scope="module")
def setup(tiny_student: Path, tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """Of the tiny student, greedy and of 5 tokens."""
    from benchmarks.ctranslate2_model import write_ctranslate2

    converted = tmp_path_factory.mktemp("peer") / "converted"
    write_ctranslate2(read_artifact(tiny_student), converted, "int8")
    write_words(tiny_student, WORDS)
    defaults = {
        "beam_size": 1,
        "min_decoding_length": 5,
        "max_decoding_length": 5,
        "length_penalty": 1.0,
        "repetition_penalty": 1.0,
        "no_repeat_ngram_size": 0,
    }
    return Setup(tiny_student, converted, WORDS, defaults, 2, 1, 4, 0.0, 1, free_port())


def ask(setup: Setup, path: str, *bodies: dict[str, Any]) -> list[dict[str, Any]]:
    with TestClient(application()) as client:
        answers = [client.post(path, json=body) for body in bodies]
    assert [answer.status_code for answer in answers] == [200] * len(bodies)
    return [answer.json()["results"][0] for answer in answers]


@pytest.fixture
def file(setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "peer.json"
    setup.write(file)
    monkeypatch.setenv(ENVIRONMENT, str(file))
    return file


def test_setups_are_read_as_written(setup: Setup, file: Path) -> None:
    assert Setup.read(file) == setup


def test_the_answer_is_the_library_s(setup: Setup, file: Path) -> None:
    texts = random_texts(3, 4, 30, WORDS)
    beams = {"num_beams": 3, "min_new_tokens": 7, "max_new_tokens": 7}
    answers = ask(setup, "/v1/summarize", *({"text": text} for text in texts), {"text": texts[0], "parameters": beams})
    translator = ctranslate2.Translator(str(setup.converted), intra_threads=1)
    for text, answer, (beam, tokens) in zip([*texts, texts[0]], answers, [(1, 5)] * 3 + [(3, 7)], strict=True):
        source = ["0", *(word.removeprefix("w") for word in text.split()), "2"]
        (result,) = translator.translate_batch(
            [source], beam_size=beam, min_decoding_length=tokens, max_decoding_length=tokens, return_end_token=True
        )
        ids = result.hypotheses[0]
        assert answer["generated_tokens"] == len(ids) == tokens
        assert answer["text"] == " ".join(f"w{token}" for token in ids if int(token) > 3)


def test_texts_are_split_and_put_together_as_ours_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (subject,) = subjects_of(MODELS / "mbart-de-en-2-4-8", None, False, tmp_path)
    assert [case.name for case in subject.cases] == ["mbart-de-en-2-4-8, beams 4", "mbart-de-en-2-4-8, greedy"]
    assert subject.search_defaults()["beam_size"] == 4
    folder, vocab_size = subject.model.folder, subject.model.vocab_size
    setup = Setup(folder, subject.converted, vocab_size, subject.search_defaults(), 1, 1, 4, 0.0, 1, 0)
    setup.write(tmp_path / "peer.json")
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "peer.json"))
    languages = {"source_language": "de_DE", "target_language": "en_XX"}
    one, two, none = ask(
        setup,
        "/v1/translate",
        {"text": "Guten Morgen!", **languages},
        {"text": "- Guten Morgen!\n- Ich habe keine Zeit.", **languages},
        {"text": "12", **languages},
    )
    assert one["text"] == "Good morning!"
    assert two["text"].startswith("- Good morning!\n- I ")
    assert one["generated_tokens"] < two["generated_tokens"]
    assert none == {"text": "12", "generated_tokens": 0}


def test_models_that_cannot_be_compared(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="answers questions"):
        list(subjects_of(MODELS / "medquad-fairytale-qa-2-4-8", None, False, tmp_path))


def test_it_runs_in_processes_of_uvicorn(setup: Setup, tmp_path: Path) -> None:
    from benchmarks.peer_service.cases import Case
    from benchmarks.service.works import Work

    with running_peer(setup._replace(workers=2), (), tmp_path) as peer:
        answers = ask_all(Case("", Work("summarization", "", random_texts(3, 2, 5, WORDS))).at(peer.http))
        assert answers.tokens == (5, 5, 5)
        with pytest.raises(OSError, match="/v1/answer answered 404"):
            ask_all(Case("", Work("question-answering", "", ("a",))).at(peer.http))


def test_one_that_does_not_start(setup: Setup, tmp_path: Path) -> None:
    broken = setup._replace(converted=tmp_path / "nothing")
    with pytest.raises(ServerFailed, match="the peer did not start"), running_peer(broken, (), tmp_path):
        pass


def test_the_file_is_plain_json(file: Path) -> None:
    assert json.loads(file.read_text())["max_batch"] == 4
