"""A gRPC server that answers as it is told, and keeps what it was asked: for what a real server does not do on demand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import grpc

from protos.dqbart.v1 import seq2seq_pb2 as pb
from protos.dqbart.v1 import seq2seq_pb2_grpc


class Refusal(NamedTuple):
    """How a call ends instead of with an answer."""

    status: grpc.StatusCode
    code: str | None = None
    details: str = "come back later"
    retry_after: str | None = None


class FakeServer(seq2seq_pb2_grpc.Seq2SeqServicer):
    """Answers each input in upper case. A text that `longest` is exceeded by is refused, as a too long one is."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.metadata: list[dict[str, str]] = []
        self.refusals: list[Refusal] = []
        """How the next calls end."""
        self.longest = 1000
        self.result: Callable[[str], pb.Result] = lambda text: pb.Result(text=text.upper(), generated_tokens=3)
        self.before_answer: Callable[[list[str]], None] = lambda texts: None
        self.models = [pb.Model(name="m", task="summarization", is_default=True, scheme="2-2-8", layers="6-3", size_bytes=7)]
        self.address = ""
        self._lock = threading.Lock()

    def Translate(self, request: pb.TranslateRequest, context: grpc.ServicerContext) -> pb.GenerateResponse:
        return self._answer(request, list(request.texts), context)

    def Summarize(self, request: pb.SummarizeRequest, context: grpc.ServicerContext) -> pb.GenerateResponse:
        return self._answer(request, list(request.texts), context)

    def Answer(self, request: pb.AnswerRequest, context: grpc.ServicerContext) -> pb.GenerateResponse:
        return self._answer(request, [each.question for each in request.questions], context)

    def SummarizeStream(self, request: pb.SummarizeRequest, context: grpc.ServicerContext) -> Iterator[pb.StreamEvent]:
        results = self._answer(request, list(request.texts), context).results
        for input, result in enumerate(results):
            for word in result.text.split(" "):
                yield pb.StreamEvent(model="m", input=input, text=f" {word}" if word != result.text.split(" ")[0] else word)
            yield pb.StreamEvent(model="m", input=input, result=result)

    def ListModels(self, request: pb.ListModelsRequest, context: grpc.ServicerContext) -> pb.ListModelsResponse:
        return pb.ListModelsResponse(models=self.models)

    def _answer(self, request: Any, texts: list[str], context: grpc.ServicerContext) -> pb.GenerateResponse:
        with self._lock:
            self.asked.append(request)
            self.metadata.append(dict(context.invocation_metadata()))
            refusal = self.refusals.pop(0) if self.refusals else None
        if refusal is None and any(len(text) > self.longest for text in texts):
            refusal = Refusal(grpc.StatusCode.INVALID_ARGUMENT, "too_long", "it is too long")
        if refusal is not None:
            trailers = (("dqbart-error-code", refusal.code), ("retry-after", refusal.retry_after))
            context.set_trailing_metadata([(name, value) for name, value in trailers if value is not None])
            context.abort(refusal.status, refusal.details)
        self.before_answer(texts)
        return pb.GenerateResponse(model="m", results=[self.result(text) for text in texts])
