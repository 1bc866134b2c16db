"""The programs that are compared, each with one way to be asked: decode this work to exactly so many tokens.

Everything that is not decoding (drawing sources, naming tokens, building a configuration) happens before the timed call.
Each loader imports its own program only, so that a worker process holds nothing of the others.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from benchmarks.works import Work

if TYPE_CHECKING:
    from quant.layout import Architecture
    from serving.engine.request import Request
    from serving.engine.settings import RunnerName

Run = Callable[[], list[int]]
"""The timed call; how many tokens each source got."""


class Contestant(Protocol):
    def prepare(self, work: Work, new_tokens: int) -> Run:
        """The call that decodes the work's sources to `new_tokens` each, no fewer and no more."""


class Specification(NamedTuple):
    """Which program with which settings, as a worker process is told."""

    name: str
    kind: Literal["engine", "loop", "transformers", "ctranslate2"]
    folder: Path
    """An artifact; of CTranslate2 a converted model; of `transformers` a plain checkpoint, too; of a loop several artifacts,
    too."""
    threads: int
    """In all: replicas share them."""
    runner: RunnerName = "auto"
    """Of the engine."""
    dtype: str = "float32"
    """Of `transformers`: float32 or bfloat16."""
    replicas: int = 1
    """Of CTranslate2: parts of a batch decoded side by side."""
    environment: tuple[tuple[str, str], ...] = ()
    models: int = 1
    """Of a loop of engines: how many it has."""
    busy: int = 1
    """How many of them share a work, in equal parts."""

    def load(self) -> Contestant:
        return _LOADERS[self.kind](self)


class _Engine:
    def __init__(self, specification: Specification) -> None:

        from serving.engine.engine import load_engine
        from serving.engine.settings import EngineSettings
        from serving.engine.threads import set_threads

        set_threads(specification.threads)
        self._engine = load_engine(specification.folder, EngineSettings(max_batch_rows=256), specification.runner)
        self._architecture = self._engine.architecture

    def prepare(self, work: Work, new_tokens: int) -> Run:
        from serving.engine.engine import Finished
        from serving.engine.request import Result

        requests = _requests(self._architecture, work, new_tokens)

        def run() -> list[int]:
            for request in requests:
                self._engine.submit(request)
            counts = []
            while self._engine.has_work:
                for event in self._engine.step():
                    if isinstance(event, Finished):
                        if not isinstance(event.outcome, Result):
                            raise event.outcome
                        counts.append(len(event.outcome.sequences[0].token_ids))
            return counts

        return run


class _Loop:
    """Several engines, as a server has them: of the artifacts in a folder, or of one artifact, whose memory they share."""

    def __init__(self, specification: Specification) -> None:
        from serving.engine.async_engine import AsyncEngine
        from serving.engine.engine import load_engine
        from serving.engine.loop import EngineLoop
        from serving.engine.settings import EngineSettings
        from serving.engine.threads import set_threads

        set_threads(specification.threads)
        loop, settings = EngineLoop(), EngineSettings(max_batch_rows=256)
        folders = sorted(config.parent for config in specification.folder.glob("*/config.json")) or [specification.folder]
        chosen = itertools.islice(itertools.cycle(folders), specification.models)
        engines = [load_engine(folder, settings, specification.runner) for folder in chosen]
        self._architecture = engines[0].architecture
        self._engines = [AsyncEngine(loop.add(engine)) for engine in engines]
        self._busy = specification.busy

    def prepare(self, work: Work, new_tokens: int) -> Run:
        requests = _requests(self._architecture, work, new_tokens)
        share = work.batch // self._busy

        async def together() -> list[int]:
            engines = [self._engines[place // share] for place in range(work.batch)]
            asked = zip(engines, requests, strict=True)
            results = await asyncio.gather(*(engine.generate(request) for engine, request in asked))
            return [len(result.sequences[0].token_ids) for result in results]

        return lambda: asyncio.run(together())


def _requests(architecture: Architecture, work: Work, new_tokens: int) -> list[Request]:
    from serving.engine.request import GenerationParameters, Request

    parameters = GenerationParameters(
        max_new_tokens=new_tokens,
        min_new_tokens=new_tokens,
        num_beams=work.beams,
        decoder_start_token_id=architecture.start_token_id,
        eos_token_ids=(architecture.eos_token_id,),
    )
    return [Request(tuple(source), parameters) for source in work.sources(architecture.vocab_size)]


class _Transformers:
    def __init__(self, specification: Specification) -> None:
        import torch
        from transformers import AutoModelForSeq2SeqLM

        from compress.model.packed_student import dequantized_student
        from quant.artifact import is_artifact, read_artifact

        torch.set_num_threads(specification.threads)
        dtype = getattr(torch, specification.dtype)
        if is_artifact(specification.folder):
            self._model = dequantized_student(read_artifact(specification.folder)).to(dtype)
        else:
            self._model = AutoModelForSeq2SeqLM.from_pretrained(specification.folder, dtype=dtype).eval()

    def prepare(self, work: Work, new_tokens: int) -> Run:
        import torch
        from transformers import GenerationConfig

        config = self._model.config
        start = config.decoder_start_token_id
        generation = GenerationConfig(
            max_new_tokens=new_tokens,
            min_new_tokens=new_tokens,
            num_beams=work.beams,
            decoder_start_token_id=config.eos_token_id if start is None else start,
            eos_token_id=config.eos_token_id,
            pad_token_id=config.pad_token_id,
        )
        sources = torch.tensor(work.sources(config.vocab_size))
        mask = torch.ones_like(sources)

        def run() -> list[int]:
            ids = self._model.generate(input_ids=sources, attention_mask=mask, generation_config=generation)
            return [ids.shape[1] - 1] * ids.shape[0]

        return run


class _CTranslate2:
    def __init__(self, specification: Specification) -> None:
        from ctranslate2 import Translator

        self._replicas = specification.replicas
        self._vocab_size = len(json.loads((specification.folder / "shared_vocabulary.json").read_text()))
        self._translator = Translator(
            str(specification.folder),
            inter_threads=specification.replicas,
            intra_threads=specification.threads // specification.replicas,
        )

    def prepare(self, work: Work, new_tokens: int) -> Run:
        sources = [[str(token) for token in source] for source in work.sources(self._vocab_size)]

        def run() -> list[int]:
            results = self._translator.translate_batch(
                sources,
                beam_size=work.beams,
                length_penalty=1.0,
                patience=1.0,
                max_decoding_length=new_tokens,
                min_decoding_length=new_tokens,
                # A batch above this size is split, and the parts go to the replicas.
                max_batch_size=-(-work.batch // self._replicas),
                return_end_token=True,
            )
            return [len(result.hypotheses[0]) for result in results]

        return run


_LOADERS: dict[str, Callable[[Specification], Contestant]] = {
    "engine": _Engine,
    "loop": _Loop,
    "transformers": _Transformers,
    "ctranslate2": _CTranslate2,
}
