"""Clients that nobody here wrote against the really running service: Hugging Face, LibreTranslate, reflection over gRPC."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError

import grpc
import httpx
import pytest
from deep_translator import LibreTranslator
from deep_translator.exceptions import ServerException
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from libretranslatepy import LibreTranslateAPI

from tests.serving.server.running import PATIENCE, Server, metrics


@pytest.fixture(scope="module")
def server(shared_server: Server) -> Server:
    return shared_server


def huggingface(server: Server, name: str) -> InferenceClient:
    return InferenceClient(model=f"{server.url}/huggingface/{name}")


def ours(server: Server, task: str, **body: Any) -> list[str]:
    """Texts of the same request to our own interface."""
    response = httpx.post(f"{server.url}/v1/{task}", json=body, timeout=PATIENCE).raise_for_status()
    return [result["text"] for result in response.json()["results"]]


@pytest.mark.parametrize("name", ["summarization", "summarizer"])
def test_huggingface_summarization(server: Server, name: str) -> None:
    text = "wie geht es dir. " * 9
    asked = {"generate_parameters": {"num_beams": 3, "max_length": 7}, "truncation": "only_first"}
    summary = huggingface(server, name).summarization(text, clean_up_tokenization_spaces=True, **asked)
    parameters = {"num_beams": 3, "max_new_tokens": 6}
    assert [summary.summary_text] == ours(server, "summarize", text=text, parameters=parameters, truncation="end")


@pytest.mark.parametrize("name", ["translation", "translator"])
def test_huggingface_translation(server: Server, name: str) -> None:
    translation = huggingface(server, name).translation("guten morgen", src_lang="German", tgt_lang="en_XX")
    assert [translation.translation_text] == ours(server, "translate", text="guten morgen", source_language="de")


def test_huggingface_translation_of_several_sentences(server: Server) -> None:
    text = "guten morgen. wie geht es dir.\n- guten morgen welt\n"
    translation = huggingface(server, "translation").translation(
        text, src_lang="de", tgt_lang="en", generate_parameters={"max_length": 9, "num_beams": 3, "use_cache": True}
    )
    asked = {"parameters": {"num_beams": 3, "max_new_tokens": 8}, "source_language": "de"}
    assert [translation.translation_text] == ours(server, "translate", text=text, truncation="chunk", **asked)
    assert translation.translation_text.count("\n- ") == 1


def test_huggingface_question_answering(server: Server) -> None:
    question, context = "who wrote the book", "she wrote it"
    answer: Any = huggingface(server, "question-answering").question_answering(
        question,
        context,
        max_answer_len=5,
        align_to_words=True,
        doc_stride=32,
        handle_impossible_answer=False,
        max_question_len=20,
        max_seq_len=128,
        top_k=1,
    )
    expected = ours(server, "answer", question=question, context=context, parameters={"max_new_tokens": 5})
    assert [answer.answer] == expected
    assert 0 < answer.score <= 1
    best: Any = huggingface(server, "answerer").question_answering(question, context, top_k=5, max_answer_len=5)
    assert len(best) == 5
    assert best[0].score >= best[4].score


def test_huggingface_as_its_api_was_asked_before(server: Server) -> None:
    """By `requests`, with options and with parameters beside each other."""
    asked = {"inputs": "good morning world", "options": {"wait_for_model": True, "use_cache": False}}
    parameters = {"do_sample": False, "max_length": 7, "min_length": 2, "repetition_penalty": 1.2, "max_time": 30.0}
    response = httpx.post(
        f"{server.url}/huggingface/summarization", json={**asked, "parameters": parameters}, timeout=30
    ).raise_for_status()
    same = {"max_new_tokens": 6, "min_new_tokens": 1, "repetition_penalty": 1.2, "do_sample": False}
    assert [each["summary_text"] for each in response.json()] == ours(
        server, "summarize", text=asked["inputs"], parameters=same
    )


def test_huggingface_shows_what_was_wrong(server: Server) -> None:
    with pytest.raises(HfHubHTTPError, match=r"source_language = 'fr' is unknown to the model; it has de_DE \(German\)"):
        huggingface(server, "translation").translation("guten morgen", src_lang="fr", tgt_lang="en")
    with pytest.raises(HfHubHTTPError, match=r"parameters.generate_parameters.beams: unknown field"):
        huggingface(server, "summarization").summarization("guten morgen", generate_parameters={"beams": 2})
    with pytest.raises(HfHubHTTPError, match=r"'nobody' is no served model and no task; served is translator, summ"):
        huggingface(server, "nobody").summarization("guten morgen")
    with pytest.raises(HfHubHTTPError, match=r"the input has \d+ tokens, the model reads 48 at most"):
        huggingface(server, "summarization").summarization("wie geht es dir. " * 9, truncation="do_not_truncate")
    with pytest.raises(HfHubHTTPError, match=r"parameters.handle_impossible_answer: should be"):
        huggingface(server, "question-answering").question_answering("who", "she", handle_impossible_answer=True)


def test_libretranslate(server: Server) -> None:
    client = LibreTranslateAPI(server.url)
    expected = ours(server, "translate", text="guten morgen", source_language="de", target_language="en")
    assert [client.translate("guten morgen", "de", "en")] == expected
    assert [client.translate("guten morgen", "auto", "en")] == expected
    assert client.languages() == [
        {"code": "de", "name": "German", "targets": ["en"]},
        {"code": "en", "name": "English", "targets": ["de"]},
    ]


def test_libretranslate_translates_long_texts(server: Server) -> None:
    text = "guten morgen welt.\n" * 60
    translated = LibreTranslateAPI(server.url).translate(text, "de", "en", timeout=60)
    assert [translated] == ours(server, "translate", text=text, source_language="de")
    assert translated.count("\n") == 60


def test_libretranslates_own_examples(server: Server) -> None:
    """Those of its documentation, in their order: a text, html, a text with alternatives; and `curl --form`."""
    url = f"{server.url}/translate"
    expected = ours(server, "translate", text="guten morgen", source_language="de")
    body = {"q": "guten morgen", "source": "auto", "target": "en"}
    answer = httpx.post(url, json=body, timeout=30).raise_for_status().json()
    assert [answer["translatedText"], answer["detectedLanguage"]["language"]] == [*expected, "de"]

    html = httpx.post(url, json={**body, "q": '<p class="green">Hallo!</p>', "format": "html"}, timeout=30)
    assert html.status_code == 422
    assert html.json() == {"error": "format: only text is translated: markup would be lost or damaged"}

    asked = {"q": "guten morgen", "source": "de", "target": "en", "format": "text", "alternatives": 3, "api_key": ""}
    answer = httpx.post(url, json=asked, timeout=30).raise_for_status().json()
    beams = {"num_beams": 4, "num_return_sequences": 4}
    best = ours(server, "translate", text="guten morgen", source_language="de", parameters=beams)
    assert [answer["translatedText"]] == best
    assert 1 <= len(answer["alternatives"]) <= 3
    assert answer["translatedText"] not in answer["alternatives"]

    in_parts = httpx.post(url, files={name: (None, str(value)) for name, value in asked.items()}, timeout=30)
    assert in_parts.raise_for_status().json() == answer


def test_deep_translator(server: Server) -> None:
    client = LibreTranslator(source="de", target="en", api_key="any", custom_url=f"{server.url}/")
    expected = ours(server, "translate", text="guten morgen", source_language="de")
    assert [client.translate("guten morgen")] == expected
    assert client.translate_batch(["guten morgen", "guten morgen"]) == expected * 2
    text = "guten morgen. wie geht es dir & mir?\n" * 20
    assert [client.translate(text)] == ours(server, "translate", text=text, source_language="de")
    with pytest.raises(ServerException):
        LibreTranslator(source="fr", target="en", api_key="any", custom_url=f"{server.url}/").translate("bonjour")


def test_libretranslate_gets_an_error_as_its_own_servers_make_it(server: Server) -> None:
    with pytest.raises(HTTPError) as refused:
        LibreTranslateAPI(server.url).translate("guten morgen", "fr", "en")
    assert refused.value.code == 422
    message = "source = 'fr' is unknown to the model; it has de_DE (German), en_XX (English)"
    assert json.load(refused.value) == {"error": message}
    with pytest.raises(HTTPError) as refused:
        LibreTranslateAPI(server.url).detect("guten morgen")
    assert refused.value.code == 403
    assert json.load(refused.value)["error"].startswith("Language detection is disabled on this server")


def test_foreign_requests_are_counted_as_ours(server: Server) -> None:
    def count(outcome: str) -> float:
        labels = {"task": "translation", "protocol": "http", "outcome": outcome}
        found = metrics(server)
        return sum(
            value
            for (name, given), value in found.items()
            if name == "dqbart_requests_total" and set(labels.items()) <= given
        )

    before = count("ok"), count("unknown_language"), count("bad_parameter")
    client = LibreTranslateAPI(server.url)
    client.translate("guten morgen", "de", "en")
    huggingface(server, "translation").translation("guten morgen", src_lang="de", tgt_lang="en")
    for wrong in ({"source": "fr"}, {"source": "de", "format": "html"}):
        httpx.post(f"{server.url}/translate", json={"q": "guten morgen", "target": "en", **wrong}, timeout=PATIENCE)
    assert (count("ok"), count("unknown_language"), count("bad_parameter")) == (before[0] + 2, before[1] + 1, before[2] + 1)


@pytest.fixture(scope="module")
def reflected(server: Server) -> Iterator[tuple[grpc.Channel, ProtoReflectionDescriptorDatabase]]:
    with grpc.insecure_channel(server.grpc_address) as channel:
        yield channel, ProtoReflectionDescriptorDatabase(channel)


def test_reflection_lists_the_services(reflected: tuple[grpc.Channel, ProtoReflectionDescriptorDatabase]) -> None:
    services = reflected[1].get_services()
    assert {"dqbart.v1.Seq2Seq", "grpc.health.v1.Health"} <= set(services)


def test_a_stranger_calls_by_what_reflection_describes(
    server: Server, reflected: tuple[grpc.Channel, ProtoReflectionDescriptorDatabase]
) -> None:
    channel, database = reflected
    service: ServiceDescriptor = DescriptorPool(database).FindServiceByName("dqbart.v1.Seq2Seq")
    method = service.methods_by_name["Translate"]
    request = GetMessageClass(method.input_type)(texts=["guten morgen"], source_language="German")
    call = channel.unary_unary(
        f"/{service.full_name}/{method.name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    texts = [result.text for result in call(request, timeout=PATIENCE).results]
    assert texts == ours(server, "translate", text="guten morgen", source_language="de")
    assert {name for name, each in service.methods_by_name.items() if each.server_streaming} == {
        "TranslateStream",
        "SummarizeStream",
        "AnswerStream",
    }
