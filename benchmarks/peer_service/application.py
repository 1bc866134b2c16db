"""CTranslate2 behind FastAPI, as one builds it for oneself: `python -m benchmarks.peer_service.application FILE`.

It takes the requests of ours, for the fields that the bench sends, and answers texts with their numbers of tokens. Texts are
read by the same code with the same tokenizer.json, so that both decode the same ids: what differs is the engine, its
batching, and what stands between it and the client. It has no limits, keys, metrics or streams, which only makes it faster.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn
from ctranslate2 import Translator
from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.peer_service.batching import Batcher, Search, Source
from quant.card import Card
from serving.service.requests import Truncation
from serving.service.sources import SourceReader
from serving.service.text import EncodedSource, TextCodec

ENVIRONMENT = "DQBART_BENCH_PEER"
"""Names the file of its setup to the processes of uvicorn."""

MOST_WINDOWS = 512


class Setup(NamedTuple):
    """What the application is told, as a file of JSON."""

    artifact: Path
    """Whose tokenizer and card are used."""
    converted: Path
    """The same model for CTranslate2."""
    vocab_size: int
    defaults: dict[str, Any]
    """Fields of Search, where a request says nothing."""
    replicas: int
    threads: int
    """Of each replica."""
    max_batch: int
    """Texts in one call."""
    wait_seconds: float
    workers: int
    """Processes of uvicorn, each with as many replicas and a model of its own."""
    port: int

    def write(self, file: Path) -> None:
        file.write_text(json.dumps(self._asdict(), default=str))

    @classmethod
    def read(cls, file: Path) -> Setup:
        setup = cls(**json.loads(file.read_text()))
        return setup._replace(artifact=Path(setup.artifact), converted=Path(setup.converted))


class Parameters(BaseModel):
    """Those of ours that the bench sends."""

    num_beams: int | None = None
    min_new_tokens: int | None = None
    max_new_tokens: int | None = None


class Asked(BaseModel):
    """One text to translate or to summarize."""

    text: str
    source_language: str | None = None
    target_language: str | None = None
    parameters: Parameters = Parameters()


class Answer(BaseModel):
    """An output."""

    text: str
    generated_tokens: int


class Answered(BaseModel):
    """As many outputs as there were texts: one."""

    results: list[Answer]


def application() -> FastAPI:
    """Of the setup that the environment names: each process of uvicorn makes its own."""
    setup = Setup.read(Path(os.environ[ENVIRONMENT]))
    card = Card.from_dict(json.loads((setup.artifact / "config.json").read_text())["dqbart"])
    codec = TextCodec(setup.artifact, card, setup.vocab_size)
    translator = Translator(str(setup.converted), inter_threads=setup.replicas, intra_threads=setup.threads)
    names = [str(token) for token in range(setup.vocab_size)]
    batcher: Batcher

    def decode(sources: Sequence[Source], search: Search) -> list[list[int]]:
        results = translator.translate_batch(
            [[names[token] for token in source.ids] for source in sources],
            [[names[token] for token in source.prefix] for source in sources],
            return_end_token=True,
            **search._asdict(),
        )
        return [[int(token) for token in result.hypotheses[0]] for result in results]

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        nonlocal batcher
        batcher = Batcher(decode, setup.replicas, setup.max_batch, setup.wait_seconds)
        yield
        await batcher.close()

    app = FastAPI(lifespan=lifespan)

    @app.post("/v1/translate")
    @app.post("/v1/summarize")
    async def answer(asked: Asked) -> Answered:
        truncation: Truncation = "chunk" if card.task == "translation" else "error"
        reader = SourceReader(codec, card.task, asked.source_language, asked.target_language, truncation, MOST_WINDOWS)
        sources = reader.read({"source": asked.text})
        search = _search(setup.defaults, asked.parameters)
        outputs = await asyncio.gather(*(batcher.generate(_source(window), search) for window in sources.windows))
        texts = (before + codec.decode(ids) for before, ids in zip(sources.before, outputs, strict=True))
        return Answered(results=[Answer(text="".join(texts) + sources.after, generated_tokens=sum(map(len, outputs)))])

    return app


def _search(defaults: dict[str, Any], parameters: Parameters) -> Search:
    asked = {
        "beam_size": parameters.num_beams,
        "min_decoding_length": parameters.min_new_tokens,
        "max_decoding_length": parameters.max_new_tokens,
    }
    return Search(**{**defaults, **{name: value for name, value in asked.items() if value is not None}})


def _source(window: EncodedSource) -> Source:
    return Source(window.source_ids, () if window.forced_bos_token_id is None else (window.forced_bos_token_id,))


def main() -> None:
    file = Path(sys.argv[1])
    setup = Setup.read(file)
    os.environ[ENVIRONMENT] = str(file)
    uvicorn.run(
        f"{__package__}.application:application",
        factory=True,
        host="127.0.0.1",
        port=setup.port,
        workers=setup.workers,
        access_log=False,
        loop="uvloop",
        http="httptools",
    )


if __name__ == "__main__":
    main()
