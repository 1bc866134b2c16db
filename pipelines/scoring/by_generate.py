"""Scored by `generate`, on a model as it is, and read as the service reads."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import GenerationConfig, PreTrainedModel

from compress.data.text_format import Example
from compress.scoring.decoder import Decoded, Progress
from compress.scoring.decoding import Source, generate_ids
from pipelines.scoring.reading import READINGS, Reader
from quant.generation import GenerationSettings
from serving.service.sources import Sources


class GenerateDecoder:
    """A teacher, or a student where the engine is not to be used."""

    def __init__(
        self,
        model: PreTrainedModel,
        reader: Reader,
        settings: GenerationSettings,
        config: GenerationConfig,
        batch_tokens: int,
    ) -> None:
        """`config` is of the settings; `batch_tokens` bounds padded source tokens times beams in a batch."""
        self._model = model
        self._reader = reader
        self._config = config
        self._batch_tokens = batch_tokens
        self.task = reader.task
        self.reading = READINGS[reader.task]
        self.settings = settings.in_effect()
        self.decoded_by = f"generate, {model.device.type}"

    def decode(self, examples: Sequence[Example], progress: Progress) -> Decoded:
        read, ids = self._generate(examples, progress)
        decode = self._reader.codec.decode
        outputs = [
            "" if sources is None else sources.joined([decode(token_ids) for token_ids in of_windows])
            for sources, of_windows in zip(read, ids, strict=True)
        ]
        truncated = sum(sources is not None and sources.applied == "end" for sources in read)
        return Decoded(outputs, truncated, read.count(None))

    def token_ids(self, examples: Sequence[Example], progress: Progress) -> list[list[int]]:
        """Generated ids of each example, those of its windows one after another; none of one that is refused."""
        _, ids = self._generate(examples, progress)
        return [[token_id for token_ids in of_windows for token_id in token_ids] for of_windows in ids]

    def _generate(
        self, examples: Sequence[Example], progress: Progress
    ) -> tuple[list[Sources | None], list[list[list[int]]]]:
        """How each example was read, None where it was refused, and the ids of each of its windows."""
        read = [self._reader.read(example) for example in examples]
        windows = [
            (example, Source(window.source_ids, window.decoder_start_token_id, window.forced_bos_token_id))
            for example, sources in enumerate(read)
            for window in (sources.windows if sources else ())
        ]
        left = [len(sources.windows) if sources else 0 for sources in read]
        progress(left.count(0))

        def finished(places: Sequence[int]) -> None:
            for place in places:
                example = windows[place][0]
                left[example] -= 1
                progress(int(not left[example]))

        found = generate_ids(self._model, [source for _, source in windows], self._config, self._batch_tokens, finished)
        ids: list[list[list[int]]] = [[] for _ in examples]
        for (example, _), token_ids in zip(windows, found, strict=True):
            ids[example].append(token_ids)
        return read, ids
