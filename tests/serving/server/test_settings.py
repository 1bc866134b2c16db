from __future__ import annotations

import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest

from dqbart.cli import Command, run_command
from serving.engine.settings import EngineSettings
from serving.server.settings import Serve


class Kept(Serve):
    """Serve that keeps its settings instead of serving."""

    def cli_cmd(self) -> None:
        kept.append(self)


kept: list[Serve] = []


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("DQBART_"):
            monkeypatch.delenv(name)


def settings(*arguments: str) -> Serve:
    run_command(Kept, "serve", list(arguments))
    return kept.pop()


def stopped(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as exit:
        run_command(Kept, "serve", list(arguments))
    assert exit.value.code == 2
    return capsys.readouterr().err


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def test_flags_win_over_environment_over_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "serve.yaml"
    config.write_text("http_port: 1\ngrpc_port: 2\nreplicas: 3\n")
    monkeypatch.setenv("DQBART_GRPC_PORT", "20")
    monkeypatch.setenv("DQBART_REPLICAS", "30")
    found = settings("--config", str(config), "--replicas", "300")
    assert (found.http_port, found.grpc_port, found.replicas) == (1, 20, 300)


def test_models_are_spelt_with_commas_or_repeated_or_as_a_list(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [("a", folder), ("b", folder)]
    assert settings("--models", f"a={folder},b={folder}").named_folders == expected
    assert settings("--models", f"a={folder}", "--models", f"b={folder}").named_folders == expected
    monkeypatch.setenv("DQBART_MODELS", f'["a={folder}", "b={folder}"]')
    assert settings().named_folders == expected


def test_a_models_name_is_its_folders_unless_given(folder: Path) -> None:
    assert settings("--models", str(folder)).named_folders == [(folder.name, folder)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--http-port", "abc"], "http_port = 'abc': should be a valid integer"),
        (["--http-port", "65536"], "http_port = '65536': should be less than or equal to 65535"),
        (["--log-level", "loud"], "log_level = 'loud': should be 'debug', 'info', 'warning' or 'error'"),
        (["--http-port", "9", "--grpc-port", "9"], "http_port and grpc_port are both 9"),
        (["--http-port", "9", "--metrics-port", "9"], "metrics_port = 9: it is a port of the service"),
        (["--request-timeout", "nan"], "request_timeout = 'nan': should be"),
        (["--max-inputs", "257"], "max_inputs = 257 is above max_queued_requests = 256: a request of so many inputs"),
        (["--max-queued-requests", "31"], "max_inputs = 32 is above max_queued_requests = 31"),
        (["--max-payload-bytes", "49999"], "max_source_characters = 50000 is above max_payload_bytes = 49999"),
        (["--max-payload-bytes-in-flight", "9"], "max_payload_bytes = 20971520 is above max_payload_bytes_in_flight = 9"),
        (["--models", "/absent"], "/absent does not exist: an artifact's folder is expected"),
        (["--models", "x=/"], "/ is no artifact: it has no config.json"),
        (["--models", "my model=."], "'my model' is no model name; letters, digits"),
        (["--models", "[x"], "models = '[x': no valid JSON list"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_wrong_settings_stop_the_start(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    error = stopped(capsys, *arguments)
    assert f"dqbart serve: error: {message}" in error or message in error.partition("dqbart serve: error: ")[2]
    assert "Traceback" not in error


def test_limits_that_are_equal_leave_something_of_each_other() -> None:
    limits = ("--max-inputs", "4", "--max-queued-requests", "4", "--max-source-characters", "9", "--max-payload-bytes", "9")
    assert settings(*limits, "--max-payload-bytes-in-flight", "9").gate.max_payload_bytes_in_flight == 9


def test_a_name_given_twice_is_refused(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert f"the name {folder.name} is given twice" in stopped(capsys, "--models", f"{folder},{folder}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("http_prt: 1", "http_prt: unknown setting, accepted are api_keys, api_keys_file, config, "),
        ("http_port: [1]", "http_port = [1]: should be a valid integer"),
        ("- 1", "a mapping of settings to values is expected"),
        ("a: b: c", "no valid YAML"),
    ],
)
def test_wrong_files_stop_the_start(capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str, message: str) -> None:
    config = tmp_path / "serve.yaml"
    config.write_text(content)
    assert message in stopped(capsys, "--config", str(config))


def test_an_absent_file_stops_the_start(capsys: pytest.CaptureFixture[str]) -> None:
    assert "config = '/absent.yaml': No such file or directory" in stopped(capsys, "--config", "/absent.yaml")


@pytest.mark.parametrize(("cores", "replicas", "threads"), [(1, 1, 1), (2, 1, 2), (12, 1, 12), (12, 5, 2), (2, 4, 1)])
def test_threads_are_the_replicas_share(monkeypatch: pytest.MonkeyPatch, cores: int, replicas: int, threads: int) -> None:
    monkeypatch.setattr("serving.server.settings.available_threads", lambda: cores)
    assert settings("--replicas", str(replicas)).threads_per_replica == threads


def test_threads_that_are_given_are_taken() -> None:
    assert settings("--threads", "16").threads_per_replica == 16


def test_every_limit_of_the_engine_is_a_setting() -> None:
    found = settings()
    assert {field.name: getattr(found, field.name) for field in fields(EngineSettings)} == asdict(EngineSettings())


def test_help_names_every_setting_and_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        run_command(Serve, "serve", ["--help"])
    text: Any = capsys.readouterr().out
    assert exit.value.code == 0
    for name in Serve.model_fields:
        assert f"--{name.replace('_', '-')}" in text
    assert "(default: 8000)" in text
    assert "None" not in text


def test_a_command_is_described_by_its_class() -> None:
    assert issubclass(Serve, Command)
    assert all(field.description for field in Serve.model_fields.values())
