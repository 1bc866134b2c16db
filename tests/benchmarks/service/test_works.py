"""The same work over both protocols and for the engine; the null model can be served."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.service.null_model import NEW_TOKENS, TEXTS, write_null_model
from benchmarks.service.works import PASSAGE, SENTENCES, Work, work_for
from protos.dqbart.v1 import seq2seq_pb2 as pb
from serving.service.models import check_model


def test_translations_over_both() -> None:
    work = Work("translation", "m", ("eins", "zwei"), "de_DE", "en_XX", max_new_tokens=3)
    first, _ = work.over_http()
    languages = {"source_language": "de_DE", "target_language": "en_XX"}
    assert json.loads(first) == {"model": "m", "parameters": {"max_new_tokens": 3}, "text": "eins", **languages}
    _, second = work.over_grpc()
    parameters = pb.GenerationParameters(max_new_tokens=3)
    assert pb.TranslateRequest.FromString(second) == pb.TranslateRequest(
        model="m", texts=["zwei"], parameters=parameters, **languages
    )


def test_questions_and_summaries() -> None:
    question = Work("question-answering", "m", ("who?",))
    assert json.loads(question.over_http()[0]) == {"model": "m", "parameters": {}, "question": "who?", "context": PASSAGE}
    asked = pb.AnswerRequest.FromString(question.over_grpc()[0])
    assert (asked.questions[0].question, list(asked.questions[0].contexts)) == ("who?", [PASSAGE])
    assert pb.SummarizeRequest.FromString(Work("summarization", "m", ("a",)).over_grpc()[0]).texts == ["a"]


def test_texts_are_given_or_from_a_file(tmp_path: Path) -> None:
    assert work_for("m", "translation", [("de_DE", "en_XX")], None) == Work(
        "translation", "m", SENTENCES, "de_DE", "en_XX", None
    )
    file = tmp_path / "texts"
    file.write_text("a\n\nb\n")
    assert work_for("m", "summarization", [], file).texts == ("a", "b")


def test_the_null_model_is_a_served_model_that_makes_one_token(tmp_path: Path) -> None:
    model = check_model("null", write_null_model(tmp_path / "null"), 64)
    assert model.size_bytes < 200_000
    requests = Work("summarization", "null", TEXTS, max_new_tokens=NEW_TOKENS).for_the_engine(model, 64)
    assert [len(request.source_ids) for request in requests] == [10, 7, 5]
    assert {request.parameters.max_new_tokens for request in requests} == {1}
