"""What is read as an input, and what is said of one that cannot be read."""

from __future__ import annotations

import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.clients.inputs import InputError, read_questions, read_texts


def give(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_arguments_are_texts_as_they_are() -> None:
    inputs = read_texts(["one\ntwo", ""], None, None)
    assert [(each.place, each.text, each.empty) for each in inputs.given] == [
        ("text 1", "one\ntwo", False),
        ("text 2", "", True),
    ]
    assert not inputs.lines


def test_lines_of_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, "\ufeffeins\r\n\n zwei\u2028drei".encode())
    inputs = read_texts([], None, None)
    assert [(each.place, each.text) for each in inputs.given] == [
        ("line 1", "eins"),
        ("line 2", ""),
        ("line 3", " zwei\u2028drei"),
    ]
    assert inputs.lines
    assert inputs.count == 3
    inputs.close()


def test_lines_of_a_pipe_are_read_as_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, b" \n\na\n\xff\n")
    inputs = read_texts([], None, None, whole=False)
    assert (inputs.count, inputs.digest) == (None, None)
    given = iter(inputs.given)
    assert [next(given).text for _ in range(3)] == [" ", "", "a"]
    with pytest.raises(InputError, match="standard input: line 4 is no UTF-8"):
        next(given)


def test_a_pipe_has_the_digest_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.txt"
    file.write_text("a\nb")
    give(monkeypatch, b"a\nb")
    inputs = read_texts([], None, None)
    assert (inputs.count, inputs.digest) == (2, read_texts([], file, None).digest)
    inputs.close()


@given(st.lists(st.text(st.characters(exclude_characters="\r\n\ufeff", exclude_categories=["Cs"]), min_size=1), min_size=1))
def test_each_line_of_a_file_is_one_text(texts: list[str]) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "texts.txt"
        file.write_bytes("".join(f"{text}\n" for text in texts).encode())
        if any(text.strip() for text in texts):
            assert [each.text for each in read_texts([], file, None).given] == texts


def test_json_lines_by_name_and_by_field(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "a\\nb", "id": 1}\n\n{"text": "c", "id": 2}\n')
    assert [each.text for each in read_texts([], file, None).given] == ["a\nb", "", "c"]
    other = file.rename(tmp_path / "a.txt")
    assert [each.text for each in read_texts([], other, "text").given] == ["a\nb", "", "c"]
    assert next(iter(read_texts([], other, None).given)).text.startswith("{")


def test_a_change_of_the_file_shows_in_the_digest(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("a\n")
    before = read_texts([], file, None).digest
    assert read_texts([], file, None).digest == before
    file.write_text("a\nb\n")
    assert read_texts([], file, None).digest != before


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"text": 1}', "line 2: the field text is no text; the fields are text"),
        (b'{"title": "a"}', "line 2: the field text is not there; the fields are title"),
        (b"[1]", "line 2: a JSON object is expected"),
        (b"{", "line 2: no valid JSON: "),
        (b"\xff", "line 2 is no UTF-8"),
    ],
)
def test_faults_name_the_line(tmp_path: Path, line: bytes, message: str) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'{"text": "a"}\n' + line + b"\n")
    with pytest.raises(InputError) as error:
        read_texts([], file, None)
    assert message in str(error.value)


def test_nothing_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, b" \n\n")
    with pytest.raises(InputError, match="no text is given"):
        read_texts([], None, None)
    with pytest.raises(InputError, match=r"input = '.*absent': No such file"):
        read_texts([], tmp_path / "absent", None)
    with pytest.raises(InputError, match="choose one"):
        read_texts(["a"], tmp_path / "absent", None)


def test_a_question_with_its_passages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (asked,) = read_questions("who?", ["first", "second"], None).given
    assert (asked.text, asked.contexts) == ("who?", ("first", "second"))
    file = tmp_path / "context.txt"
    file.write_text("line\nline\n")
    assert next(iter(read_questions("who?", [], file).given)).contexts == ("line\nline\n",)
    give(monkeypatch, b"she wrote it")
    assert next(iter(read_questions("who?", [], None).given)).contexts == ("she wrote it",)


def test_questions_as_json_lines(tmp_path: Path) -> None:
    file = tmp_path / "questions.jsonl"
    lines = [{"question": "who?", "context": "she"}, {"question": "when?", "context": ["in 1815", "later"]}]
    file.write_text("\n".join(json.dumps(line) for line in lines))
    asked = read_questions(None, [], file)
    assert [(each.text, each.contexts) for each in asked.given] == [("who?", ("she",)), ("when?", ("in 1815", "later"))]
    assert asked.lines


@pytest.mark.parametrize(
    ("arguments", "content", "message"),
    [
        (("who?", ["a"], True), "x", "choose one"),
        ((" ", ["a"], False), "", "the question is empty"),
        ((None, ["a"], False), "", "a context is given, but no question"),
        ((None, [], True), "\n", "no question is given"),
        ((None, [], True), '{"question": "who?"}', "line 1: context is expected to be a text, or a list of passages"),
        ((None, [], True), '{"question": "who?", "context": [1]}', "line 1: context is expected"),
        ((None, [], True), '{"context": "a"}', "line 1: the field question is not there; the fields are context"),
    ],
)
def test_questions_that_cannot_be_asked(
    tmp_path: Path, arguments: tuple[str | None, list[str], bool], content: str, message: str
) -> None:
    file = tmp_path / "given"
    file.write_text(content)
    question, contexts, from_file = arguments
    with pytest.raises(InputError, match=message):
        read_questions(question, contexts, file if from_file else None)
