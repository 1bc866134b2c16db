"""The whole service as a stranger runs it: `dqbart serve` in a process of its own, real Ray, real HTTP and gRPC clients."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import torch
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos.dqbart.v1 import seq2seq_pb2 as pb
from protos.dqbart.v1 import seq2seq_pb2_grpc
from serving.rpc.statuses import GRPC_STATUS
from serving.server.run import check
from serving.server.settings import Serve
from serving.service.errors import HTTP_STATUS, ErrorCode
from tests.serving.server.running import (
    PATIENCE,
    Server,
    engines_standing_still,
    metrics,
    ongoing,
    series,
    start_server,
)


@pytest.fixture(scope="module")
def server(artifacts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    config = folder / "serve.yaml"
    # Models come and go: nobody who asks may notice.
    loading = "load: first-use\nunload_after: 1\nmax_model_bytes: 100_000_000\n"
    config.write_text(f"replicas: 2\nmax_source_characters: 400\nmax_inputs: 4\n{loading}")
    arguments = ("--config", str(config), "--grace", "60")
    with start_server(folder, list(artifacts.values()), *arguments, env={"DQBART_MAX_QUEUED_REQUESTS": "64"}) as server:
        yield server


@pytest.fixture(scope="module")
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.grpc_address) as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel: grpc.Channel) -> Any:
    return seq2seq_pb2_grpc.Seq2SeqStub(channel)


def test_models_are_found_in_the_current_folder(
    artifacts: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "notes").mkdir(parents=True)
    for name in ("b", "a"):
        (tmp_path / "models" / name).symlink_to(artifacts["summarizer"])
    models, defaults = check(Serve())
    assert [model.name for model in models] == ["a", "b"]
    assert defaults == {"summarization": "a"}


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("default_translation", "summarizer", "default_translation = 'summarizer': no served model for translation"),
        ("default_question_answering", "absent", "there are: none"),
        ("max_batch_rows", 1, "models: translator: its default of 2 beams is above max_batch_rows = 1"),
    ],
)
def test_settings_at_odds_with_the_models_stop_the_start(
    artifacts: dict[str, Path], setting: str, value: object, message: str
) -> None:
    settings = Serve(models=[str(artifacts["translator"])]).model_copy(update={setting: value})
    with pytest.raises(SystemExit) as exit:
        check(settings)
    assert message in str(exit.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_runner_that_cannot_be_used_stops_the_start() -> None:
    with pytest.raises(SystemExit, match="runner = 'cuda' cannot be used here: torch finds no CUDA device"):
        check(Serve(runner="cuda"))


def test_startup_screen_shows_models_and_how_to_ask(server: Server) -> None:
    output = server.output.read_text()
    for expected in ("translator", "de_DE en_XX", "8-8-8", "1-1", f"curl {server.url}/v1/translate", "dqbart.v1.Seq2Seq"):
        assert expected in output


def test_http_and_grpc_give_the_same_answers(server: Server, stub: Any) -> None:
    texts = ["guten morgen welt", "wie geht es dir"]
    over_http = httpx.post(
        f"{server.url}/v1/translate", json={"text": texts, "source_language": "de"}, timeout=PATIENCE
    ).json()
    over_grpc = stub.Translate(pb.TranslateRequest(texts=texts, source_language="de_DE", target_language="en_XX"))
    assert over_http["model"] == over_grpc.model == "translator"
    assert [result["text"] for result in over_http["results"]] == [result.text for result in over_grpc.results]
    assert len(over_grpc.results) == 2
    result = over_grpc.results[0]
    assert result.generated_tokens == over_http["results"][0]["generated_tokens"]
    assert result.source_tokens == over_http["results"][0]["source_tokens"]
    assert over_http["results"][0]["timings"]["decode"] > 0
    assert result.timings.decode > 0


def test_the_other_tasks_answer_over_both(server: Server, stub: Any) -> None:
    summary = httpx.post(f"{server.url}/v1/summarize", json={"text": "good morning world"}, timeout=PATIENCE).json()
    assert summary["model"] == "summarizer"
    assert summary["results"][0]["text"] == stub.Summarize(pb.SummarizeRequest(texts=["good morning world"])).results[0].text
    question = {"question": "who wrote the book", "context": "she wrote it"}
    answer = httpx.post(f"{server.url}/v1/answer", json=question, timeout=PATIENCE).json()
    assert (
        answer["results"][0]["text"]
        == stub.Answer(
            pb.AnswerRequest(questions=[pb.Question(question=question["question"], contexts=[question["context"]])])
        )
        .results[0]
        .text
    )


def test_generation_parameters_reach_the_engine(server: Server, stub: Any) -> None:
    parameters: dict[str, Any] = {"num_beams": 1, "max_new_tokens": 3, "min_new_tokens": 3}
    body = {"text": "good morning", "parameters": parameters}
    result = httpx.post(f"{server.url}/v1/summarize", json=body, timeout=PATIENCE).json()["results"][0]
    assert (result["generated_tokens"], result["finish_reason"]) == (3, "length")
    message = pb.SummarizeRequest(texts=["good morning"], parameters=pb.GenerationParameters(**parameters))
    assert stub.Summarize(message).results[0].finish_reason == pb.FINISH_REASON_LENGTH


def test_sampling_with_scores_is_the_same_over_both(server: Server, stub: Any) -> None:
    parameters: dict[str, Any] = {
        "do_sample": True,
        "top_k": 20,
        "seed": 5,
        "num_return_sequences": 3,
        "return_scores": True,
        "max_new_tokens": 8,
    }
    body = {"text": "good morning", "parameters": parameters}
    over_http = httpx.post(f"{server.url}/v1/summarize", json=body, timeout=PATIENCE).json()["results"][0]
    message = pb.SummarizeRequest(texts=["good morning"], parameters=pb.GenerationParameters(**parameters))
    over_grpc = stub.Summarize(message).results[0]
    assert over_http["seed"] == over_grpc.seed == 5
    assert [output["text"] for output in over_http["sequences"]] == [output.text for output in over_grpc.sequences]
    assert [output["score"] for output in over_http["sequences"]] == [output.score for output in over_grpc.sequences]
    assert [token["token"] for token in over_http["tokens"]] == [token.token for token in over_grpc.tokens]
    assert len(over_grpc.sequences) == 3


def test_a_plain_answer_has_no_fields_that_were_not_asked_for(server: Server) -> None:
    result = httpx.post(f"{server.url}/v1/summarize", json={"text": "good morning"}, timeout=PATIENCE).json()["results"][0]
    fields = {"text", "source_tokens", "unknown_tokens", "generated_tokens", "finish_reason", "timings", "truncation"}
    assert result.keys() == fields
    assert result["truncation"].keys() == {"applied", "windows", "source_tokens_total", "source_tokens_used"}


def test_long_texts_are_answered_in_windows_over_both(server: Server, stub: Any) -> None:
    text = "good morning world. how are you. " * 4
    body = {"text": text, "source_language": "en", "truncation": "chunk"}
    over_http = httpx.post(f"{server.url}/v1/translate", json=body, timeout=PATIENCE).json()["results"][0]
    message = pb.TranslateRequest(texts=[text], source_language="en", truncation=pb.TRUNCATION_CHUNK)
    over_grpc = stub.Translate(message).results[0]
    assert over_http["text"] == over_grpc.text
    assert (over_http["truncation"]["applied"], over_http["truncation"]["windows"]) == ("chunk", 8)
    assert (over_grpc.truncation.applied, over_grpc.truncation.windows) == (pb.APPLIED_TRUNCATION_CHUNK, 8)


def test_models_are_listed_alike(server: Server, stub: Any) -> None:
    over_http = httpx.get(f"{server.url}/v1/models", timeout=PATIENCE).json()["models"]
    over_grpc = stub.ListModels(pb.ListModelsRequest()).models
    assert (
        [model["name"] for model in over_http]
        == [model.name for model in over_grpc]
        == ["translator", "summarizer", "answerer"]
    )
    assert list(over_grpc[0].languages) == ["de_DE", "en_XX"]
    assert over_grpc[0].defaults.num_beams == over_http[0]["defaults"]["num_beams"] == 2
    assert over_grpc[0].is_default


def test_a_model_is_loaded_by_its_first_request_and_unloaded_when_it_is_not_used(server: Server) -> None:
    def loaded() -> float:
        return metrics(server)[series("dqbart_model_loaded", model="summarizer")]

    deadline = time.monotonic() + PATIENCE
    while loaded():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert httpx.get(f"{server.url}/readyz", timeout=PATIENCE).status_code == 200
    response = httpx.post(f"{server.url}/v1/summarize", json={"text": "how are you"}, timeout=PATIENCE)
    assert response.status_code == 200
    assert metrics(server)[series("dqbart_model_load_seconds", model="summarizer")] > 0
    while loaded():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("code", "body"),
    [
        (ErrorCode.EMPTY_TEXT, {"text": [" "]}),
        (ErrorCode.UNKNOWN_MODEL, {"text": ["how are you"], "model": "absent"}),
        (ErrorCode.WRONG_TASK, {"text": ["how are you"], "model": "summarizer"}),
        (ErrorCode.UNKNOWN_LANGUAGE, {"text": ["how are you"], "source_language": "fr"}),
        (ErrorCode.TOO_LONG, {"text": ["how are you " * 20], "source_language": "en", "truncation": "error"}),
        (ErrorCode.BAD_PARAMETER, {"text": ["how are you"], "source_language": "en", "parameters": {"max_new_tokens": 0}}),
    ],
)
def test_refusals_carry_code_status_and_message(server: Server, stub: Any, code: ErrorCode, body: dict[str, Any]) -> None:
    response = httpx.post(f"{server.url}/v1/translate", json=body, timeout=PATIENCE)
    assert response.status_code == HTTP_STATUS[code]
    assert response.json()["error"]["code"] == code
    fields = {"texts" if key == "text" else key: value for key, value in body.items()}
    if "truncation" in fields:
        fields["truncation"] = f"TRUNCATION_{fields['truncation'].upper()}"
    with pytest.raises(grpc.RpcError) as refused:
        stub.Translate(pb.TranslateRequest(**fields))
    assert refused.value.code() == GRPC_STATUS[code]
    assert refused.value.details() == response.json()["error"]["message"]
    assert dict(refused.value.trailing_metadata())["dqbart-error-code"] == code


def test_fastapis_own_errors_have_the_same_shape(server: Server) -> None:
    for method, path, status, code in (
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/v1/translate", 405, "method_not_allowed"),
        ("POST", "/v1/translate", 415, "unsupported_media_type"),
    ):
        response = httpx.request(method, server.url + path, content="{" if method == "POST" else None, timeout=PATIENCE)
        assert (response.status_code, response.json()["error"]["code"]) == (status, code)


def test_health(server: Server, channel: grpc.Channel) -> None:
    assert httpx.get(f"{server.url}/healthz", timeout=PATIENCE).json() == {"status": "ok"}
    health = health_pb2_grpc.HealthStub(channel)
    for name in ("", "dqbart.v1.Seq2Seq"):
        assert health.Check(health_pb2.HealthCheckRequest(service=name)).status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as refused:
        health.Check(health_pb2.HealthCheckRequest(service="absent"))
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND
    watch = health.Watch(health_pb2.HealthCheckRequest())
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()


def test_interface_is_described(server: Server) -> None:
    paths = httpx.get(f"{server.url}/openapi.json", timeout=PATIENCE).json()["paths"]
    assert {"/v1/translate", "/v1/summarize", "/v1/answer", "/v1/models", "/healthz", "/metrics"} <= paths.keys()
    assert 'id="operations"' in httpx.get(f"{server.url}/docs", timeout=PATIENCE).text


def test_metrics_count_both_protocols_alike(server: Server, stub: Any) -> None:
    labels = {"task": "summarization", "model": "summarizer", "outcome": "ok"}
    generated = {"model": "summarizer"}
    before = metrics(server)
    httpx.post(f"{server.url}/v1/summarize", json={"text": ["good", "morning"]}, timeout=PATIENCE).raise_for_status()
    stub.Summarize(pb.SummarizeRequest(texts=["good", "morning"]))
    httpx.post(f"{server.url}/v1/summarize", json={"text": "good", "model": "one-that-is-not-served"}, timeout=PATIENCE)
    after = metrics(server)
    for protocol in ("http", "grpc"):
        key = series("dqbart_requests_total", protocol=protocol, **labels)
        assert after[key] - before.get(key, 0) == 1
    tokens = series("dqbart_generated_tokens_total", **generated)
    assert after[tokens] > before[tokens]
    assert after[series("dqbart_inputs_total", **generated)] - before[series("dqbart_inputs_total", **generated)] == 4
    assert after[series("dqbart_queue_size", **generated)] == 0
    assert not any("one-that-is-not-served" in str(key) for key in after)
    assert after[
        series("dqbart_requests_total", task="summarization", model="unknown", protocol="http", outcome="unknown_model")
    ]


def test_concurrent_requests_share_the_batch_and_keep_their_answers(server: Server) -> None:
    texts = ["good morning world", "how are you", "who wrote the book", "she wrote it"]

    def ask(text: str) -> str:
        body = {"text": text, "parameters": {"max_new_tokens": 40, "min_new_tokens": 40}}
        answer: str = httpx.post(f"{server.url}/v1/summarize", json=body, timeout=PATIENCE).json()["results"][0]["text"]
        return answer

    alone = [ask(text) for text in texts]
    rows = series("dqbart_batch_rows_bucket", model="summarizer", le="2.0")
    steps = series("dqbart_batch_rows_count", model="summarizer")
    before = metrics(server)
    with ThreadPoolExecutor(16) as pool:
        with engines_standing_still(server):
            asked = [pool.submit(ask, text) for text in texts * 4]
            while ongoing(server) < len(asked):
                time.sleep(0.01)
        together = [each.result() for each in asked]
    after = metrics(server)
    assert together == alone * 4
    # 16 requests of 2 rows: steps with no more rows than that are not all there were.
    assert after[steps] - before[steps] > after[rows] - before[rows]


def test_stopping_finishes_the_request_in_flight(server: Server) -> None:
    body = {"text": ["how are you"] * 4}
    with ThreadPoolExecutor(1) as pool:
        with engines_standing_still(server):
            answer = pool.submit(httpx.post, f"{server.url}/v1/summarize", json=body, timeout=PATIENCE)
            while not ongoing(server):
                time.sleep(0.01)
            server.process.send_signal(signal.SIGTERM)
            while "stopping" not in server.output.read_text():
                time.sleep(0.01)
        assert answer.result().status_code == 200
    assert server.process.wait(PATIENCE) == 0
    assert not [line for line in server.output.read_text().splitlines() if "ServeReplica" in line]
