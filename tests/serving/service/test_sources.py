from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from quant.artifact import read_artifact
from quant.card import Card
from serving.service.errors import ErrorCode, ServiceError
from serving.service.passages import passage_windows
from serving.service.sources import SourceReader
from serving.service.text import TextCodec

MOST = 48
SENTENCE = "wie geht es dir. "
QUESTION = {"question": "who wrote the book", "context": "she wrote it. how are you. " * 8}


@pytest.fixture(scope="module")
def cards(artifacts: dict[str, Path]) -> dict[str, Card]:
    return {name: read_artifact(folder).card for name, folder in artifacts.items()}


@pytest.fixture(scope="module")
def codecs(artifacts: dict[str, Path], cards: dict[str, Card]) -> dict[str, TextCodec]:
    return {name: TextCodec(folder, cards[name], 100) for name, folder in artifacts.items()}


@pytest.fixture
def reader(cards: dict[str, Card], codecs: dict[str, TextCodec]) -> Any:
    def reader(name: str, truncation: Any, codec: TextCodec | None = None, max_windows: int = 50) -> SourceReader:
        # In English a sentence may begin with a small letter; the vocabulary has no others.
        languages = ("en_XX", "de_DE") if name == "translator" else (None, None)
        return SourceReader(codec or codecs[name], cards[name].task, *languages, truncation, max_windows)

    return reader


@pytest.mark.parametrize("truncation", ["error", "end", "chunk"])
def test_what_fits_is_one_source_whatever_truncation_says(
    reader: Any, codecs: dict[str, TextCodec], truncation: str
) -> None:
    sources = reader("summarizer", truncation).read({"source": "guten morgen. wie geht es dir"})
    whole = codecs["summarizer"].encode({"source": "guten morgen. wie geht es dir"}, None, None)
    assert (sources.windows, sources.applied) == ((whole,), "none")
    assert sources.total_tokens == sources.used_tokens == len(whole.source_ids)


def test_error_says_both_lengths(reader: Any, codecs: dict[str, TextCodec]) -> None:
    total = len(codecs["summarizer"].encode({"source": SENTENCE * 9}, None, None).source_ids)
    with pytest.raises(ServiceError) as refused:
        reader("summarizer", "error").read({"source": SENTENCE * 9})
    expected = f"the input has {total} tokens, the model reads 48 at most: split it, or choose truncation = end or chunk"
    assert (refused.value.code, refused.value.message) == (ErrorCode.TOO_LONG, expected)


def test_end_keeps_as_much_as_the_model_reads(reader: Any, codecs: dict[str, TextCodec]) -> None:
    sources = reader("summarizer", "end").read({"source": SENTENCE * 9})
    whole = codecs["summarizer"].encode({"source": SENTENCE * 9}, None, None).source_ids
    assert sources.windows[0].source_ids == whole[: MOST - 1] + whole[-1:]
    assert (len(sources.windows), sources.applied) == (1, "end")
    assert (sources.total_tokens, sources.used_tokens) == (len(whole), MOST)


def test_translations_are_split_into_sentences(reader: Any, codecs: dict[str, TextCodec]) -> None:
    text = "guten morgen. wie geht es dir.\n\n" + SENTENCE * 4
    sources = reader("translator", "chunk").read({"source": text})
    expected = ["guten morgen.", "wie geht es dir.", *[SENTENCE.strip()] * 4]
    encoded = tuple(codecs["translator"].encode({"source": each}, "en_XX", "de_DE") for each in expected)
    assert (sources.windows, sources.applied) == (encoded, "chunk")
    assert (sources.before, sources.after) == (("", " ", "\n\n", " ", " ", " "), " ")
    assert sources.used_tokens == sources.total_tokens > MOST


def test_so_are_translations_of_texts_that_would_fit(reader: Any, codecs: dict[str, TextCodec]) -> None:
    sources = reader("translator", "chunk").read({"source": "guten morgen. wie geht es dir"})
    assert (len(sources.windows), sources.applied) == (2, "chunk")
    lines = reader("translator", "chunk").read({"source": " - guten morgen\nwelt\n"})
    assert (len(lines.windows), lines.applied, lines.before, lines.after) == (2, "chunk", (" - ", "\n"), "\n")
    alone = reader("translator", "chunk").read({"source": " guten morgen welt\n"})
    assert (len(alone.windows), alone.applied, alone.before, alone.after) == (1, "none", (" ",), "\n")


@pytest.mark.parametrize("truncation", ["error", "end", "chunk"])
def test_what_is_no_sentence_is_not_translated(reader: Any, codecs: dict[str, TextCodec], truncation: str) -> None:
    sources = reader("translator", truncation).read({"source": "\tguten morgen 😊\n"})
    assert sources.windows == (codecs["translator"].encode({"source": "guten morgen"}, "en_XX", "de_DE"),)
    assert (sources.before, sources.after, sources.windows[0].unknown_tokens) == (("\t",), " 😊\n", 0)
    nothing = reader("translator", truncation).read({"source": " 42 😊 東京"})
    assert (nothing.windows, nothing.before, nothing.after, nothing.applied) == ((), (), " 42 😊 東京", "none")
    assert reader("translator", truncation).nothing().decoder_start_token_id == sources.windows[0].decoder_start_token_id


def test_a_translation_in_one_is_cut_or_refused(reader: Any) -> None:
    text = f" {SENTENCE * 9}\n"
    cut = reader("translator", "end").read({"source": text})
    assert (len(cut.windows[0].source_ids), cut.applied, cut.before, cut.after) == (MOST, "end", (" ",), " \n")
    with pytest.raises(ServiceError, match="the model reads 48 at most"):
        reader("translator", "error").read({"source": text})


def test_unknown_tokens_are_counted(codecs: dict[str, TextCodec]) -> None:
    assert codecs["translator"].encode({"source": "guten ж morgen\u00a0q"}, "de_DE", "en_XX").unknown_tokens == 2


def test_windows_of_other_tasks_are_filled(reader: Any, codecs: dict[str, TextCodec]) -> None:
    sources = reader("summarizer", "chunk").read({"source": SENTENCE * 9})
    one = len(codecs["summarizer"].encode({"source": SENTENCE.strip()}, None, None).source_ids) - 2
    lengths = [len(window.source_ids) for window in sources.windows]
    assert max(lengths) <= MOST
    # No window but the last has room for another sentence.
    assert all(length + one > MOST for length in lengths[:-1])


def test_every_window_of_a_context_has_the_whole_question(reader: Any, codecs: dict[str, TextCodec]) -> None:
    sources = reader("answerer", "chunk").read(QUESTION)
    before = codecs["answerer"].encode({**QUESTION, "context": ""}, None, None).source_ids[:-2]
    assert len(sources.windows) > 1
    for window in sources.windows:
        assert window.source_ids[: len(before)] == before
        assert len(before) < len(window.source_ids) <= MOST


PASSAGES: dict[str, Any] = {"question": "who", "context": ("she wrote it", "how are you", "guten morgen", "good morning")}


def test_passages_that_are_too_many_are_refused(reader: Any) -> None:
    with pytest.raises(ServiceError) as refused:
        reader("answerer", "error").read({**PASSAGES, "context": PASSAGES["context"] * 2})
    assert (refused.value.code, "the input with its 8 passages has" in refused.value.message) == (ErrorCode.TOO_LONG, True)
    assert "give fewer of them, or choose truncation = end or chunk" in refused.value.message


def test_a_cut_takes_from_the_passages_of_lowest_rank(reader: Any, codecs: dict[str, TextCodec]) -> None:
    texts = {**PASSAGES, "context": PASSAGES["context"] * 2}
    sources = reader("answerer", "end").read(texts)
    whole = codecs["answerer"].encode(texts, None, None).source_ids
    assert sources.windows[0].source_ids == whole[: MOST - 1] + whole[-1:]
    assert (sources.applied, sources.used_tokens, sources.total_tokens) == ("end", MOST, len(whole))


def test_windows_have_whole_passages_joined_as_the_card_says(reader: Any, codecs: dict[str, TextCodec]) -> None:
    codec, ranked = codecs["answerer"], PASSAGES["context"] * 2
    sources = reader("answerer", "chunk").read({**PASSAGES, "context": ranked})
    groups = passage_windows(ranked, " ; ", "en", codec.room(PASSAGES), codec.token_starts)
    expected = tuple(codec.encode({**PASSAGES, "context": " ; ".join(group)}, None, None) for group in groups)
    assert (sources.windows, sources.applied) == (expected, "chunk")
    assert 1 < len(groups) < len(ranked)
    assert all(len(window.source_ids) <= MOST for window in sources.windows)


@pytest.mark.parametrize("truncation", ["end", "chunk"])
def test_a_question_longer_than_a_window_is_refused(reader: Any, truncation: str) -> None:
    with pytest.raises(ServiceError) as refused:
        reader("answerer", truncation).read({"question": "who wrote the book " * 20, "context": "she wrote it"})
    assert (refused.value.code, refused.value.field) == (ErrorCode.TOO_LONG, "question")
    assert "the question leaves no room for the context: the model reads 48 tokens at most" in refused.value.message


def test_too_many_windows_are_refused(reader: Any) -> None:
    assert len(reader("translator", "chunk", max_windows=9).read({"source": SENTENCE * 9}).windows) == 9
    with pytest.raises(ServiceError, match=r"the input takes 9 windows, the server allows 8 at most") as refused:
        reader("translator", "chunk", max_windows=8).read({"source": SENTENCE * 9})
    assert refused.value.code == ErrorCode.TOO_LONG


class Miscounting(TextCodec):
    """Finds a third of a text's tokens when it counts, as if pieces had more tokens together than alone."""

    def token_starts(self, text: str) -> list[int]:
        return super().token_starts(text)[::3]


def test_windows_fit_also_where_pieces_have_more_tokens_together(
    reader: Any, artifacts: dict[str, Path], cards: dict[str, Card]
) -> None:
    codec = Miscounting(artifacts["summarizer"], cards["summarizer"], 100)
    sources = reader("summarizer", "chunk", codec).read({"source": SENTENCE * 9})
    assert max(len(window.source_ids) for window in sources.windows) <= MOST
    hopeless = "guten" * 100
    assert all(
        len(each.source_ids) <= MOST for each in reader("summarizer", "chunk", codec).read({"source": hopeless}).windows
    )
