"""What a server is asked in the benches: texts, as requests of either protocol and of the engine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from quant.card import Task

if TYPE_CHECKING:
    from serving.engine.request import Request
    from serving.service.models import CheckedModel

SENTENCES = (
    "Guten Morgen!",
    "Wie geht es dir heute?",
    "Ich habe keine Zeit.",
    "Wo ist der nächste Bahnhof?",
    "Das Wetter ist heute sehr schön.",
    "Kannst du mir bitte helfen?",
    "Er kommt morgen früh mit dem Zug.",
    "Sie hat gestern ein neues Buch gekauft.",
    "Wir waren letzten Sommer am Meer.",
    "Tom weiß nicht, was er sagen soll.",
    "Ich möchte einen Kaffee und ein Stück Kuchen.",
    "Warum hast du mich nicht angerufen?",
    "Die Kinder spielen im Garten hinter dem Haus.",
    "Es tut mir leid, dass ich zu spät gekommen bin.",
    "Niemand hat den Schlüssel gefunden, den ich verloren habe.",
    "Wenn es morgen regnet, bleiben wir zu Hause.",
    "Meine Schwester arbeitet in einem Krankenhaus in der Stadt.",
    "Er spricht so schnell, dass ich ihn kaum verstehen kann.",
    "Hast du schon einmal darüber nachgedacht, ins Ausland zu ziehen?",
    "Der Arzt hat ihm gesagt, dass er mehr Wasser trinken soll.",
    "Ich habe den ganzen Tag an diesem Brief geschrieben und bin müde.",
    "Maria fragte ihren Bruder, ob er ihr Fahrrad reparieren könne.",
    "Bevor wir losfahren, müssen wir noch etwas zu essen kaufen.",
    "Obwohl er krank war, ging er jeden Morgen um sechs Uhr zur Arbeit.",
)
"""Of the kind that the shipped translator was trained on: 5 to 20 tokens."""

PASSAGE = "The book was written by Mary Shelley when she was eighteen. It was printed in London in 1818 and is still read."

PATHS: dict[Task, tuple[str, str]] = {
    "translation": ("/v1/translate", "/dqbart.v1.Seq2Seq/Translate"),
    "summarization": ("/v1/summarize", "/dqbart.v1.Seq2Seq/Summarize"),
    "question-answering": ("/v1/answer", "/dqbart.v1.Seq2Seq/Answer"),
}
"""Of HTTP, and of gRPC."""


class Work(NamedTuple):
    """Requests of one text each to one model."""

    task: Task
    model: str
    texts: tuple[str, ...]
    source_language: str = ""
    target_language: str = ""
    max_new_tokens: int | None = None
    min_new_tokens: int | None = None
    num_beams: int | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """Those of a request; what is None is the model's own."""
        names = ("max_new_tokens", "min_new_tokens", "num_beams")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def over_http(self) -> tuple[bytes, ...]:
        """Bodies."""
        languages = {"source_language": self.source_language, "target_language": self.target_language}
        languages = {name: code for name, code in languages.items() if code}
        shared = {"model": self.model, "parameters": self.parameters, **languages}
        return tuple(json.dumps({**shared, **self._inputs(text)}).encode() for text in self.texts)

    def over_grpc(self) -> tuple[bytes, ...]:
        """Messages."""
        from protos.dqbart.v1 import seq2seq_pb2 as pb

        shared: dict[str, Any] = {"model": self.model, "parameters": pb.GenerationParameters(**self.parameters)}
        languages: dict[str, Any] = {"source_language": self.source_language, "target_language": self.target_language}

        def message(text: str) -> pb.TranslateRequest | pb.SummarizeRequest | pb.AnswerRequest:
            match self.task:
                case "translation":
                    return pb.TranslateRequest(texts=[text], **languages, **shared)
                case "summarization":
                    return pb.SummarizeRequest(texts=[text], **shared)
                case _:
                    return pb.AnswerRequest(questions=[pb.Question(question=text, contexts=[PASSAGE])], **shared)

        return tuple(message(text).SerializeToString() for text in self.texts)

    def for_the_engine(self, model: CheckedModel, max_rows: int) -> list[Request]:
        """As the service would hand them on."""
        from serving.engine.request import Request
        from serving.service.requests import GenerationParameters

        codec = model.codec()
        asked = GenerationParameters(**self.parameters)
        names = {"text": "source"}
        requests = []
        for text in self.texts:
            texts = {names.get(name, name): value for name, value in self._inputs(text).items()}
            source = codec.encode(texts, self.source_language or None, self.target_language or None)
            requests.append(Request(source.source_ids, model.defaults.resolve(asked, source, max_rows)))
        return requests

    def _inputs(self, text: str) -> dict[str, str]:
        return {"question": text, "context": PASSAGE} if self.task == "question-answering" else {"text": text}


def work_for(
    model: str, task: Task, languages: Sequence[tuple[str, str]], texts: Path | None, max_new_tokens: int | None = None
) -> Work:
    """The lines of a file, or SENTENCES, for a model; translated in its first direction. Raises OSError."""
    given: tuple[str, ...] = SENTENCES
    if texts is not None:
        given = tuple(line for line in texts.read_text(encoding="utf-8").splitlines() if line.strip())
    source, target = languages[0] if languages else ("", "")
    return Work(task, model, given, source, target, max_new_tokens)
