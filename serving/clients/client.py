"""A client of a dqbart server over gRPC, for Python programs; the commands use it too.

    with Client("localhost:9000") as client:
        (result,) = client.translate("Guten Morgen!", source_language="de", num_beams=1)
        print(result.text)

Answers are the messages of `protos/dqbart/v1/seq2seq.proto`. A call that the server refuses because it is overloaded or
restarting is repeated, no sooner than the server says; every other failure is a ServerError at once. A client may be used by
several threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import grpc
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    sleep_using_event,
    stop_before_delay,
    wait_random_exponential,
)

from protos.dqbart.v1 import seq2seq_pb2 as pb
from protos.dqbart.v1 import seq2seq_pb2_grpc
from quant.errors import Error

Request = pb.TranslateRequest | pb.SummarizeRequest | pb.AnswerRequest
T = TypeVar("T")

CALLS: dict[type[Request], str] = {
    pb.TranslateRequest: "Translate",
    pb.SummarizeRequest: "Summarize",
    pb.AnswerRequest: "Answer",
}
EARLY_STOPPING = {False: pb.EARLY_STOPPING_FALSE, True: pb.EARLY_STOPPING_TRUE, "never": pb.EARLY_STOPPING_NEVER}
TRUNCATIONS = {"error": pb.TRUNCATION_ERROR, "end": pb.TRUNCATION_END, "chunk": pb.TRUNCATION_CHUNK}

TRANSIENT = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
FIRST_WAIT, LONGEST_WAIT = 0.25, 8.0
"""Seconds between two attempts; doubled each time, and drawn at random below that, so that not all come back at once."""


class ServerError(Error):
    """A call that got no answer. The message says what was wrong, for people.

    `code` is the server's name of the error, like too_long; None where no server of ours said it. `status` is a
    grpc.StatusCode, `retry_after` the seconds after which the server may take the same call.
    """

    def __init__(self, message: str, status: Any, code: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after = retry_after


class Client:
    """A connection to one server, made when it is first used."""

    def __init__(
        self,
        address: str = "localhost:9000",
        *,
        api_key: str | None = None,
        tls: bool = False,
        ca_file: Path | str | None = None,
        timeout: float = 120.0,
        retry_seconds: float = 60.0,
    ) -> None:
        """`ca_file` has the certificates to trust in place of the system's, and means `tls`; `timeout` is of one attempt.

        Raises OSError for a file that cannot be read.
        """
        self._address = address
        self._timeout = timeout
        self._retry_seconds = retry_seconds
        self._metadata = [("authorization", f"Bearer {api_key}")] if api_key else []
        self._answered = False
        self._closed = threading.Event()
        # Scores of many tokens come to more than the 4 MB that are the default.
        options = [("grpc.max_receive_message_length", -1)]
        if tls or ca_file is not None:
            certificates = None if ca_file is None else Path(ca_file).read_bytes()
            self._channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(certificates), options)
        else:
            self._channel = grpc.insecure_channel(address, options)
        self._stub: Any = seq2seq_pb2_grpc.Seq2SeqStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; calls of other threads fail."""
        self._closed.set()
        self._channel.close()

    def translate(
        self, texts: str | Sequence[str], source_language: str = "", target_language: str = "", **options: Any
    ) -> list[pb.Result]:
        """A result for each text. `options` are `model`, `truncation`, and the fields of pb.GenerationParameters."""
        fields = {**shared_fields(**options), "source_language": source_language, "target_language": target_language}
        return list(self.ask(pb.TranslateRequest(texts=_listed(texts), **fields)).results)

    def summarize(self, texts: str | Sequence[str], **options: Any) -> list[pb.Result]:
        """A result for each text; `options` as of `translate`."""
        return list(self.ask(pb.SummarizeRequest(texts=_listed(texts), **shared_fields(**options))).results)

    def answer(self, question: str, contexts: str | Sequence[str], **options: Any) -> pb.Result:
        """The answer from one context, or from several passages, the most relevant first; `options` as of `translate`."""
        asked = pb.Question(question=question, contexts=_listed(contexts))
        return self.ask(pb.AnswerRequest(questions=[asked], **shared_fields(**options))).results[0]

    def models(self) -> list[pb.Model]:
        """Every served model."""
        listed: pb.ListModelsResponse = self._repeated(lambda: self._call("ListModels", pb.ListModelsRequest()))
        return list(listed.models)

    def ask(self, request: Request) -> pb.GenerateResponse:
        """The answer to a whole request. Raises ServerError."""
        response: pb.GenerateResponse = self._repeated(lambda: self._call(CALLS[type(request)], request))
        return response

    def stream(self, request: Request) -> Generator[pb.StreamEvent]:
        """What becomes of a request, as it happens. Raises ServerError; leaving the iterator cancels the call."""

        def begun() -> tuple[Any, pb.StreamEvent | None]:
            call = self._call(f"{CALLS[type(request)]}Stream", request)
            # What the server refuses it refuses before the first event, and only then the call may be repeated.
            return call, next(call, None)

        call, event = self._repeated(begun)
        try:
            while event is not None:
                yield event
                event = next(call, None)
        except grpc.RpcError as error:
            raise self._server_error(error) from None
        finally:
            call.cancel()

    def _call(self, name: str, request: Any) -> Any:
        return getattr(self._stub, name)(request, timeout=self._timeout, metadata=self._metadata)

    def _repeated(self, call: Callable[[], T]) -> T:
        backoff = wait_random_exponential(FIRST_WAIT, LONGEST_WAIT)

        def wait(state: RetryCallState) -> float:
            fault = state.outcome.exception() if state.outcome else None
            asked_for = fault.retry_after if isinstance(fault, ServerError) else None
            return backoff(state) + (asked_for or 0.0)

        def attempt() -> T:
            try:
                answer = call()
            except grpc.RpcError as error:
                raise self._server_error(error) from None
            self._answered = True
            return answer

        return Retrying(
            retry=retry_if_exception(self._may_be_repeated),
            wait=wait,
            stop=stop_before_delay(self._retry_seconds),
            sleep=sleep_using_event(self._closed),
            reraise=True,
        )(attempt)

    def _may_be_repeated(self, fault: BaseException) -> bool:
        if not isinstance(fault, ServerError) or fault.status not in TRANSIENT or self._closed.is_set():
            return False
        # Where nothing of ours has ever answered, the address is wrong sooner than the server is restarting.
        return fault.code is not None or self._answered

    def _server_error(self, error: Any) -> ServerError:
        status, details = error.code(), error.details() or ""
        trailers = dict(error.trailing_metadata() or ())
        code, retry_after = trailers.get("dqbart-error-code"), trailers.get("retry-after")
        self._answered = self._answered or code is not None
        if code is None:
            details = self._explained(status, details)
        return ServerError(details, status, code, None if retry_after is None else float(retry_after))

    def _explained(self, status: Any, details: str) -> str:
        match status:
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                return f"{self._address} gave no answer within the timeout of {self._timeout:g} seconds"
            case grpc.StatusCode.UNAVAILABLE:
                return f"no server answers at {self._address} ({details}): start one with dqbart serve, or give its address"
            case grpc.StatusCode.UNIMPLEMENTED:
                return f"what answers at {self._address} is no dqbart server, or one of another version ({details})"
            case _:
                return f"{self._address}: {status.name}: {details}"


def shared_fields(model: str = "", truncation: str | None = None, **parameters: Any) -> dict[str, Any]:
    """What the requests have in common, as keywords of their messages. Raises ValueError for an unknown parameter."""
    if truncation is not None and truncation not in TRUNCATIONS:
        raise ValueError(f"truncation = {truncation!r}: accepted are {', '.join(TRUNCATIONS)}")
    if (early := parameters.get("early_stopping")) is not None:
        if early not in EARLY_STOPPING:
            raise ValueError(f"early_stopping = {early!r}: accepted are True, False and 'never'")
        parameters = {**parameters, "early_stopping": EARLY_STOPPING[early]}
    return {
        "model": model,
        "truncation": pb.TRUNCATION_UNSPECIFIED if truncation is None else TRUNCATIONS[truncation],
        "parameters": pb.GenerationParameters(**parameters),
    }


def _listed(texts: str | Sequence[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else list(texts)
