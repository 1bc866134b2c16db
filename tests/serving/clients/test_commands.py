"""The commands from flags to output, asking a server that answers as it is told; a real one is asked in test_real_server."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import grpc
import pytest

from dqbart.cli import run_command
from protos.dqbart.v1 import seq2seq_pb2 as pb
from serving.clients.commands import Answer, Summarize, Translate
from tests.serving.clients.fake_server import FakeServer, Refusal


def give(monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content.encode())))


def summarize(fake: FakeServer, *arguments: str) -> None:
    run_command(Summarize, "summarize", ["--server", fake.address, *arguments])


def stopped(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as exit:
        run_command(Summarize, "summarize", list(arguments))
    assert exit.value.code == 2
    return capsys.readouterr().err


def test_arguments_are_sent_with_what_was_chosen_only(fake: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--server", fake.address, "--source-language", "de", "--num-beams", "1"]
    run_command(Translate, "translate", [*flags, "eins", "zwei"])
    parameters = pb.GenerationParameters(num_beams=1)
    assert fake.asked == [
        pb.TranslateRequest(
            texts=["eins", "zwei"], source_language="de", parameters=parameters, truncation=pb.TRUNCATION_CHUNK
        )
    ]
    assert capsys.readouterr().out == "EINS\nZWEI\n"


@pytest.mark.parametrize(
    "text", ["Guten Morgen, Tom!", 'Er sagte "ja", ', "eins\n\nzwei", "[a]", "{", "null", "12", '"', "a\\", "'"]
)
def test_texts_and_contexts_are_sent_as_they_are(fake: FakeServer, text: str) -> None:
    summarize(fake, text, "drei")
    assert fake.asked[0].texts == [text, "drei"]
    run_command(Answer, "answer", ["--server", fake.address, text, "--context", text, "--context", "vier"])
    (question,) = fake.asked[1].questions
    assert (question.question, list(question.contexts)) == (text, [text, "vier"])


def test_parameters_and_truncation_are_flags(fake: FakeServer) -> None:
    flags = ["--do-sample", "--top-k", "5", "--top-p", "0.9", "--temperature", "0.5", "--seed", "7"]
    summarize(fake, "--truncation", "chunk", *flags, "--early-stopping", "false", "a")
    parameters = pb.GenerationParameters(
        do_sample=True, top_k=5, top_p=0.9, temperature=0.5, seed=7, early_stopping=pb.EARLY_STOPPING_FALSE
    )
    assert fake.asked == [pb.SummarizeRequest(texts=["a"], truncation=pb.TRUNCATION_CHUNK, parameters=parameters)]


def test_early_stopping_never_is_a_flag(fake: FakeServer) -> None:
    summarize(fake, "--early-stopping", "never", "--encoder-no-repeat-ngram-size", "4", "a")
    parameters = pb.GenerationParameters(early_stopping=pb.EARLY_STOPPING_NEVER, encoder_no_repeat_ngram_size=4)
    assert fake.asked[0].parameters == parameters


def test_the_key_is_sent(fake: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DQBART_API_KEY", "secret")
    summarize(fake, "a")
    assert fake.metadata[0]["authorization"] == "Bearer secret"


def test_sequences_are_a_line_each_with_their_scores(
    fake: FakeServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    give(monkeypatch, "a\n\nb")
    sequences = [pb.Output(text="one", score=-0.25), pb.Output(text="two", score=-1.5)]
    fake.result = lambda text: pb.Result(text="one", score=-0.25, sequences=sequences)
    summarize(fake, "--num-return-sequences", "2", "--return-scores")
    lines = ["-0.2500\tone", "-1.5000\ttwo"]
    assert capsys.readouterr().out.split("\n") == [*lines, "", "", *lines, ""]


def test_an_answer_to_a_line_is_one_line_and_to_an_argument_as_it_is(
    fake: FakeServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.result = lambda text: pb.Result(text="one\n\ntwo")
    give(monkeypatch, "a\n")
    summarize(fake)
    assert capsys.readouterr().out == "one two\n"
    summarize(fake, "a")
    assert capsys.readouterr().out == "one\n\ntwo\n"


def test_inputs_with_unknown_characters_are_told(
    fake: FakeServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.result = lambda text: pb.Result(text=text, unknown_tokens=text.count("q"))
    give(monkeypatch, "q\na\nqq\n")
    summarize(fake)
    shown = capsys.readouterr()
    assert shown.out == "q\na\nqq\n"
    assert shown.err == "2 of 3 inputs have characters that the model does not know: line 1, line 3\n"
    summarize(fake, "--json-lines", "a", "qq")
    entries = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [entry.get("unknown_tokens") for entry in entries] == [None, 2]


def test_json_lines(fake: FakeServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, "a\n\nlong\n")
    fake.longest = 3
    sequences = [pb.Output(text="ä", generated_tokens=2, score=-0.5)]
    fake.result = lambda text: pb.Result(text="ä", generated_tokens=2, score=-0.5, seed=7, sequences=sequences)
    summarize(fake, "--json-lines", "--on-error", "skip")
    shown = capsys.readouterr()
    output = {"text": "ä", "generated_tokens": 2, "score": -0.5}
    assert [json.loads(line) for line in shown.out.splitlines()] == [
        {**output, "seed": 7, "sequences": [output]},
        {"text": ""},
        {"text": "", "error": {"code": "too_long", "message": "it is too long"}},
    ]
    assert "line 3: it is too long" in shown.err
    assert "1 of 3 inputs were refused" in shown.err


def test_wrong_settings_stop_before_anything_is_sent(capsys: pytest.CaptureFixture[str]) -> None:
    error = stopped(capsys, "--truncation", "start", "--top-p", "2", "--in-flight", "0", "text")
    assert "truncation = 'start': should be 'error', 'end' or 'chunk'" in error
    assert "top_p = '2': should be less than or equal to 1" in error
    assert "in_flight = '0': should be greater than or equal to 1" in error
    error = stopped(capsys, "--stream", "--return-scores", "--output", "x", "text")
    assert "stream = True: prints one text and nothing else; leave out output, return_scores" in error


def test_a_file_is_written_and_continued(fake: FakeServer, tmp_path: Path) -> None:
    source, output = tmp_path / "source.txt", tmp_path / "out.txt"
    source.write_text("".join(f"line {number}\n" for number in range(10)))
    arguments = ("--input", str(source), "--output", str(output), "--inputs-per-request", "2", "--in-flight", "1")
    fake.before_answer = lambda texts: fake.refusals.extend([INTERNAL] if "line 5" in texts else [])
    with pytest.raises(SystemExit):
        summarize(fake, *arguments)
    written = output.read_text().splitlines()
    assert written == [f"LINE {number}" for number in range(6)]
    fake.asked.clear()
    summarize(fake, *arguments)
    assert [list(each.texts) for each in fake.asked] == [["line 6", "line 7"], ["line 8", "line 9"]]
    assert output.read_text() == "".join(f"LINE {number}\n" for number in range(10))


INTERNAL = Refusal(grpc.StatusCode.INTERNAL, "internal", "an internal error")


@pytest.mark.parametrize("changed", ["settings", "input", "model"])
def test_a_file_that_would_be_of_two_kinds_is_refused(
    fake: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: str
) -> None:
    source, output = tmp_path / "source.txt", tmp_path / "out.txt"
    source.write_text("a\n")
    arguments = ["--server", fake.address, "--input", str(source), "--output", str(output)]
    run_command(Summarize, "summarize", arguments)
    match changed:
        case "settings":
            arguments += ["--num-beams", "4"]
            expected = "num_beams was None, is 4"
        case "input":
            source.write_text("a\nb\n")
            expected = "the input has changed"
        case _:
            fake.models[0].size_bytes = 8
            expected = "model was {'name': 'm'"
    assert expected in stopped(capsys, *arguments)
    assert output.read_text() == "A\n"


def test_ctrl_c_leaves_whole_answers_and_says_how_to_go_on(
    fake: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = tmp_path / "source.txt", tmp_path / "out.txt"
    source.write_text("a\nb\nc\n")

    def interrupt(settings: Any, answer: Any, one_line: bool) -> list[str]:
        if answer.text == "B":
            raise KeyboardInterrupt
        return [answer.text]

    monkeypatch.setattr("serving.clients.asking._lines", interrupt)
    with pytest.raises(SystemExit) as exit:
        summarize(fake, "--input", str(source), "--output", str(output), "--inputs-per-request", "1")
    assert exit.value.code == 130
    assert f"interrupted; the same command continues {output}" in capsys.readouterr().err
    assert output.read_text() == "A\n"


def test_a_stream_prints_one_text(fake: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    summarize(fake, "--stream", "one two three")
    assert capsys.readouterr().out == "ONE TWO THREE\n"
    assert "one text is expected, several are given" in stopped(capsys, "--server", fake.address, "--stream", "a", "b")


def test_questions_from_a_file(fake: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_text('{"question": "who?", "context": ["a", "b"]}\n\n{"question": "when?", "context": "c"}\n')
    run_command(Answer, "answer", ["--server", fake.address, "--model", "m", "--input", str(file)])
    assert capsys.readouterr().out == "WHO?\n\nWHEN?\n"
    assert [list(each.contexts) for each in fake.asked[0].questions] == [["a", "b"], ["c"]]
    assert fake.asked[0].model == "m"


def test_a_context_is_read_from_standard_input(fake: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, "she\nwrote it")
    run_command(Answer, "answer", ["--server", fake.address, "who?"])
    assert list(fake.asked[0].questions[0].contexts) == ["she\nwrote it"]


def test_no_server(capsys: pytest.CaptureFixture[str]) -> None:
    error = stopped(capsys, "--server", "127.0.0.1:9", "text")
    assert "dqbart summarize: error: no server answers at 127.0.0.1:9" in error
    assert "dqbart serve" in error


def test_the_servers_message_is_shown(fake: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    fake.refusals = [Refusal(grpc.StatusCode.UNAUTHENTICATED, "unauthenticated", "a key is needed")]
    assert stopped(capsys, "--server", fake.address, "text") == "dqbart summarize: error: a key is needed\n"


def test_no_text_and_no_certificates(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, " \n")
    assert "no text is given" in stopped(capsys)
    assert "ca_file = 'absent.pem': No such file or directory" in stopped(capsys, "--ca-file", "absent.pem", "a")
