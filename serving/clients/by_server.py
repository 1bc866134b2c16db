"""Inputs answered by a running server, over gRPC."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from typing import Any

from quant.card import Task
from serving.clients.answers import MODEL_KEYS, Answered, Batch
from serving.clients.batches import answer_all, answered
from serving.clients.client import Client, Request
from serving.clients.commands import Asking
from serving.clients.inputs import Input

Build = Callable[[Sequence[Input]], Request]


class ByServer:
    """The server that a command's settings name."""

    def __init__(self, settings: Asking, build: Build) -> None:
        """Raises OSError for a file of certificates that cannot be read."""
        self._settings = settings
        self._build = build
        self._client = Client(
            settings.server,
            api_key=None if settings.api_key is None else settings.api_key.get_secret_value(),
            tls=settings.tls,
            ca_file=settings.ca_file,
            timeout=settings.timeout,
            retry_seconds=settings.retry_seconds,
        )

    def answers(self, inputs: Iterable[Input], skip: bool) -> Generator[Batch]:
        return answer_all(
            self._client,
            self._build,
            inputs,
            per_request=self._settings.inputs_per_request,
            in_flight=self._settings.in_flight,
            skip=skip,
        )

    def stream(self, given: Input) -> Generator[str | Answered]:
        with closing(self._client.stream(self._build([given]))) as events:
            for event in events:
                if event.HasField("result"):
                    yield answered(event.result)
                else:
                    yield event.text

    def model(self, task: Task) -> dict[str, Any] | str | None:
        """The name alone where it is not served, which the server says."""
        name = self._settings.model
        for model in self._client.models():
            if model.name == name or (name is None and model.is_default and model.task == task):
                return {key: getattr(model, key) for key in MODEL_KEYS}
        return name

    def close(self) -> None:
        self._client.close()
