"""What is made for translation between German and English, whichever of them the sources are in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain

from compress.errors import DatasetError
from pipelines.augment.commands import Augment
from pipelines.augment.german_english.making import Shares, composed, copies, joined
from pipelines.augment.german_english.pairs import Pair
from pipelines.augment.rows import examples_of


def translations(settings: Augment) -> Iterator[Mapping[str, str]]:
    """Rows of source and target: copies of each, then joined texts, then sentences of the grammar. Raises DatasetError."""
    backwards = settings.source_is_english()
    corpus = []
    for example in examples_of(settings):
        source, target = str(example.texts["source"]), example.target
        corpus.append(Pair(target, source) if backwards else Pair(source, target))
    shares = Shares(settings.rename, settings.renumber, settings.unended)
    made = chain(
        copies(corpus, settings.copies, shares, settings.seed),
        joined(corpus, settings.joined, settings.joined_words, shares, settings.seed),
        composed(settings.composed, shares, settings.seed),
    )
    try:
        for german, english in made:
            yield {"source": english, "target": german} if backwards else {"source": german, "target": english}
    except ValueError as error:
        raise DatasetError(f"{', '.join(settings.source)}: {error}") from error
