"""What is made for summarization: copies of rows, also with what is wanted before the source or a sentence as target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pipelines.augment.commands import Augment
from pipelines.augment.gap_sentences import gap_sentence
from pipelines.augment.passages import sentences_of
from pipelines.augment.questions import FUNCTION_WORDS
from pipelines.augment.rows import draws, examples_of
from pipelines.augment.words import Words, with_made_up_words


def summaries(settings: Augment) -> Iterator[Mapping[str, str]]:
    """Rows of source and target. Raises DatasetError."""
    rows = [(str(example.texts["source"]), example.target) for example in examples_of(settings)]
    words = Words(source for source, _ in rows)
    for copy in range(settings.copies):
        for place, (source, target) in enumerate(rows):
            generator = draws(settings, place, copy)
            if settings.gap_sentences:
                target = gap_sentence(sentences_of(source), target, words, FUNCTION_WORDS)
            if generator.random() < settings.made_up:
                source, target = with_made_up_words(
                    [source, target], source, words, settings.kept_words, settings.made_up_words, generator
                )
            if settings.prefix and generator.random() < settings.prefix_share:
                source = settings.prefix + source
            yield {"source": source, "target": target}
