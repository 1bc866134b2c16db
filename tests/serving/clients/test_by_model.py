"""The commands with a model's folder: what they do with a server, without one."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dqbart import load
from dqbart.cli import run_command
from serving.clients.commands import Answer, Asking, Summarize, Translate
from tests.serving.server.running import ROOT, command

DE_EN = ("--source-language", "de", "--target-language", "en")
TEXTS = ["guten morgen welt", "wie geht es dir"]


def run(kind: type[Asking], model: Path, *arguments: str) -> None:
    run_command(kind, kind.__name__.lower(), ["--model", str(model), *arguments])


def stopped(capsys: pytest.CaptureFixture[str], kind: type[Asking], *arguments: str) -> str:
    with pytest.raises(SystemExit) as exit:
        run_command(kind, kind.__name__.lower(), list(arguments))
    assert exit.value.code == 2
    return capsys.readouterr().err


def give(monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content.encode())))


@pytest.fixture(scope="module")
def translations(artifacts: dict[str, Path]) -> list[str]:
    with load(artifacts["translator"]) as model:
        return [result.text for result in model.translate(TEXTS, source="de", target="en")]


@pytest.fixture(scope="module")
def summary(artifacts: dict[str, Path]) -> str:
    with load(artifacts["summarizer"]) as model:
        return model.summarize("she wrote it")[0].text


def test_arguments_and_lines_are_answered(
    artifacts: dict[str, Path],
    translations: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(Translate, artifacts["translator"], *DE_EN, *TEXTS)
    assert capsys.readouterr().out == "".join(f"{text}\n" for text in translations)
    give(monkeypatch, f"\n{TEXTS[0]}\n\n{TEXTS[1]}\n \n")
    run(Translate, artifacts["translator"], *DE_EN)
    assert capsys.readouterr().out.split("\n") == ["", translations[0], "", translations[1], "", ""]


def test_questions_with_a_context_and_with_passages(
    artifacts: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with load(artifacts["answerer"]) as model:
        one, several = list(model.answer_each([("who", "she"), ("who", ["she", "how"])]))
    run(Answer, artifacts["answerer"], "who", "--context", "she", "--context", "how")
    run(Answer, artifacts["answerer"], "who", "--context", "she", "--stream")
    assert capsys.readouterr().out == f"{several.text}\n{one.text}\n"
    file = tmp_path / "questions.jsonl"
    lines = [{"question": "who", "context": "she"}, {"question": "who", "context": ["she", "how"]}]
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    run(Answer, artifacts["answerer"], "--input", str(file))
    assert capsys.readouterr().out == f"{one.text}\n{several.text}\n"


def test_json_lines_scores_and_what_is_skipped(
    artifacts: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    give(monkeypatch, "she wrote it\n\n" + "how are you " * 20 + "\n")
    flags = ("--json-lines", "--on-error", "skip", "--num-return-sequences", "2", "--return-scores")
    run(Summarize, artifacts["summarizer"], *flags)
    shown = capsys.readouterr()
    first, empty, refused = map(json.loads, shown.out.splitlines())
    assert [set(each) for each in first["sequences"]] == [{"text", "generated_tokens", "score"}] * 2
    assert first["sequences"][0] == {name: first[name] for name in ("text", "generated_tokens", "score")}
    assert empty == {"text": ""}
    assert refused["error"]["code"] == "too_long"
    assert "line 3: the input has" in shown.err
    assert "1 of 3 inputs were refused" in shown.err
    run(Summarize, artifacts["summarizer"], "--return-scores", "she wrote it")
    assert capsys.readouterr().out == f"{first['score']:.4f}\t{first['text']}\n"


def test_what_comes_before_a_fault_is_answered(
    artifacts: dict[str, Path], summary: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    give(monkeypatch, "she wrote it\n" + "how are you " * 20 + "\nshe wrote it\n")
    with pytest.raises(SystemExit) as exit:
        run(Summarize, artifacts["summarizer"])
    shown = capsys.readouterr()
    assert (exit.value.code, shown.out) == (2, f"{summary}\n")
    assert "dqbart summarize: error: line 2: the input has" in shown.err
    give(monkeypatch, '{"text": "she wrote it"}\n{}\n')
    with pytest.raises(SystemExit):
        run(Summarize, artifacts["summarizer"], "--field", "text")
    shown = capsys.readouterr()
    assert shown.out == f"{summary}\n"
    assert "line 2: the field text is not there" in shown.err


def test_a_stream_prints_one_text(artifacts: dict[str, Path], summary: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(Summarize, artifacts["summarizer"], "--stream", "she wrote it")
    assert capsys.readouterr().out == f"{summary}\n"


def test_a_file_is_written_and_continued(artifacts: dict[str, Path], summary: str, tmp_path: Path) -> None:
    source, output = tmp_path / "source.txt", tmp_path / "out.txt"
    source.write_text("she wrote it\n" * 100)
    arguments = ("--input", str(source), "--output", str(output))
    run(Summarize, artifacts["summarizer"], *arguments)
    assert output.read_text() == f"{summary}\n" * 100
    output.write_text("kept\n" * 90 + "half a li")
    run(Summarize, artifacts["summarizer"], *arguments)
    assert output.read_text() == "kept\n" * 90 + f"{summary}\n" * 10
    with pytest.raises(SystemExit):
        run(Summarize, artifacts["summarizer"], *arguments, "--num-beams", "1")


def test_what_is_no_model_and_the_wrong_one(
    artifacts: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"model = '{tmp_path}/no': does not exist" in stopped(capsys, Summarize, "--model", f"{tmp_path}/no", "a")
    assert f"model = '{tmp_path}': is no artifact" in stopped(capsys, Summarize, "--model", str(tmp_path), "a")
    (tmp_path / "config.json").write_text("{}")
    assert f"{tmp_path.name}: " in stopped(capsys, Summarize, "--model", str(tmp_path), "a")
    translator = str(artifacts["translator"])
    assert "translator does translation, not summarization" in stopped(capsys, Summarize, "--model", translator, "a")
    assert "num_beams = 65: 64 at most" in stopped(
        capsys, Translate, "--model", translator, *DE_EN, "--num-beams", "65", "a"
    )


def test_a_name_without_a_slash_is_a_servers_also_where_a_folder_has_it(
    artifacts: dict[str, Path], summary: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(artifacts["summarizer"].parent)
    error = stopped(capsys, Summarize, "--server", "127.0.0.1:9", "--model", "summarizer", "she wrote it")
    assert "no server answers at 127.0.0.1:9" in error
    assert "--model ./summarizer asks the one in this folder" in error
    run(Summarize, Path("./summarizer").absolute(), "she wrote it")
    run_command(Summarize, "summarize", ["--model", "./summarizer", "she wrote it"])
    monkeypatch.chdir("summarizer")
    run_command(Summarize, "summarize", ["--model", ".", "she wrote it"])
    assert capsys.readouterr().out == f"{summary}\n" * 3


def test_neither_grpc_nor_ray_is_loaded(artifacts: dict[str, Path]) -> None:
    program = (
        "import sys\nfrom dqbart import cli\n"
        f"sys.argv = ['dqbart', 'summarize', '--model', {str(artifacts['summarizer'])!r}, 'she wrote it']\n"
        "try: cli.main()\nexcept SystemExit as exit: print('exit', exit.code)\n"
        "print(sorted({'ray', 'grpc', 'fastapi', 'prometheus_client', 'google.protobuf'} & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1:] == ["exit 0", "[]"]


def test_an_interrupted_run_says_how_to_go_on(artifacts: dict[str, Path], summary: str, tmp_path: Path) -> None:
    source, output = tmp_path / "source.txt", tmp_path / "out.txt"
    source.write_text("she wrote it\n" * 200_000)
    arguments = ["summarize", "--model", str(artifacts["summarizer"]), "--input", str(source), "--output", str(output)]
    asking = [sys.executable, "-m", "dqbart", *arguments]
    process = subprocess.Popen(asking, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    while not output.exists() or not output.stat().st_size:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate()
    assert (process.returncode, error) == (130, f"interrupted; the same command continues {output}\n")
    lines = output.read_text().splitlines()
    assert 0 < len(lines) < 200_000
    assert set(lines) == {summary}


def test_a_reader_who_has_enough_ends_it(artifacts: dict[str, Path], summary: str, tmp_path: Path) -> None:
    source = tmp_path / "source.txt"
    source.write_text("she wrote it\n" * 200_000)
    arguments = ["summarize", "--model", str(artifacts["summarizer"]), "--input", str(source)]
    with subprocess.Popen(
        [sys.executable, "-m", "dqbart", *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == f"{summary}\n"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


def test_a_server_is_asked_when_a_name_is_given(artifacts: dict[str, Path]) -> None:
    refused = command("summarize", "--server", "127.0.0.1:9", "--model", "summarizer", "a")
    assert (refused.returncode, "no server answers" in refused.stderr) == (2, True)
