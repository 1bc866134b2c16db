"""The card's format, read off real tokenizer classes, gives the service's codec the ids that training saw."""

from pathlib import Path

import pytest

from compress.data.text_format import Example
from compress.model.packed_student import load_student
from compress.model.teacher import load_teacher
from compress.model.told import Told
from dqbart.cli import run_command
from pipelines.compressing.compress import Compress
from serving.service.text import TextCodec

TEXTS = [
    "guten tag",
    "  zwei   worte ",
    "was ist das?",
    "a",
    "unknown ÄÖ 漢 signs",
    "\ufeffwas\u00a0ist\u00ad\tu\u0308ber\r\n",
]


@pytest.mark.parametrize("name", ["bart", "mbart50", "mbart-cc25"])
def test_training_and_service_write_the_same_ids(teachers, pairs: str, tmp_path: Path, name: str) -> None:
    task = "summarization" if name == "bart" else "translation"
    languages = [] if name == "bart" else ["--source-language", "de_DE", "--target-language", "en_XX", "--both-directions"]
    arguments = [teachers[name], "--task", task, "--train", pairs, "--valid", pairs, "--layers", "1-1"]
    with pytest.raises(SystemExit) as stopped:
        run_command(Compress, "compress", [*arguments, "--max-steps", "0", "--output", str(tmp_path), *languages])
    assert stopped.value.code == 0

    _, text_format, artifact = load_student(tmp_path)
    codec = TextCodec(tmp_path, artifact.card, artifact.architecture.vocab_size)
    for source, target in artifact.card.language_pairs or ((None, None),):
        examples = [Example({"source": text}, "ja", source, target) for text in TEXTS]
        for example, encoded in zip(examples, text_format.encode(examples, 32), strict=True):
            served = codec.encode(example.texts, source, target)
            assert list(served.source_ids) == encoded.source_ids
            # The decoder is trained on what it is started with.
            assert served.decoder_start_token_id == encoded.decoder_ids[0]
            if served.forced_bos_token_id is not None:
                assert served.forced_bos_token_id == encoded.label_ids[0]
            assert codec.decode(encoded.label_ids) == text_format.decode(encoded.label_ids) == "ja"


def test_targets_are_normalized_as_sources_are(teachers: dict[str, str]) -> None:
    text_format = load_teacher(teachers["bart"], Told("summarization")).text_format
    odd, plain = (Example({"source": text}, text) for text in ("\ufeffein\u00a0hu\u00adnd", "ein hund"))
    assert text_format.encode([odd], 32) == text_format.encode([plain], 32)


@pytest.mark.parametrize("template", ["question: {question} context: {context}", "{context} question: {question}"])
@pytest.mark.parametrize(
    ("passages", "truncated"),
    [(("ein hund",), False), (("ein hund", "eine katze"), False), (("ein hund", "eine katze" * 5, "a"), True)],
)
def test_training_and_service_pack_and_cut_passages_alike(
    teachers: dict[str, str], template: str, passages: tuple[str, ...], truncated: bool
) -> None:
    text_format = load_teacher(
        teachers["bart"], Told("question-answering", source_template=template, passage_separator=" ? ")
    ).text_format
    texts = {"question": "was", "context": passages}
    (trained,) = text_format.encode([Example(texts, "ja")], 32)
    codec = TextCodec(Path(teachers["bart"]), text_format.card, len(text_format.tokenizer))
    served = codec.cut(texts, None, None) if truncated else codec.encode(texts, None, None)
    assert (trained.source_ids, trained.truncated) == (list(served.source_ids), truncated)
    assert "was" in text_format.decode(trained.source_ids)
    assert text_format.card.source_text(texts).count(" ? ") == len(passages) - 1


def test_a_source_without_room_for_its_context_loses_its_end(teachers: dict[str, str]) -> None:
    text_format = load_teacher(teachers["bart"], Told("question-answering", max_source_tokens=8)).text_format
    (encoded,) = text_format.encode([Example({"question": "was", "context": ("ein hund",)}, "ja")], 32)
    assert text_format.decode(encoded.source_ids) == "questi"


@pytest.mark.parametrize(
    ("sources", "shown"),
    [
        (["a", "b"], "train: 2 examples, 10 tokens, 0 truncated"),
        (["a", "bbbbbbbbbb"], "train: 2 examples, 15 tokens, 1 truncated (50.0%; sources to 8 tokens, targets to 16)"),
        (
            ["aaaaaaaaaa", "bbbbbbbbbb"],
            "train: 2 examples, 20 tokens, 2 truncated\n"
            "warning: EVERY example of train is truncated (sources to 8 tokens, targets to 16); "
            "--max-source-tokens and --max-target-tokens set these limits",
        ),
    ],
)
def test_what_is_cut_off_is_counted_with_the_limit(teachers: dict[str, str], sources: list[str], shown: str) -> None:
    text_format = load_teacher(teachers["bart"], Told("summarization", max_source_tokens=8)).text_format
    encoded = text_format.encode([Example({"source": source}, "") for source in sources], 16)
    assert text_format.summary("train", encoded, 16) == shown
