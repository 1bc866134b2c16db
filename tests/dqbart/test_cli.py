"""The command line as a whole; each command's own settings are tested beside it."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from dqbart import cli
from dqbart.cli import COMMANDS, GROUPS, Command, run_command

ROOT = Path(__file__).parents[2]


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dqbart", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_every_command_is_listed() -> None:
    listed = command("--help")
    assert listed.returncode == 0
    for name in COMMANDS.keys() | GROUPS.keys():
        group, _, command_name = name.rpartition(" ")
        assert f"\n  {command_name} " in (command(group, "--help") if group else listed).stdout


def test_an_unknown_command_is_refused() -> None:
    refused = command("serv")
    assert refused.returncode == 2
    assert "No such command 'serv'" in refused.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_answer_help_without_loading_torch_or_ray(name: str) -> None:
    program = (
        "import sys\nfrom dqbart import cli\n"
        f"sys.argv = ['dqbart', *{name.split()!r}, '--help']\n"
        "try: cli.main()\n"
        "except SystemExit as exit: print('exit', exit.code)\n"
        "print('heavy', sorted({'torch', 'ray', 'transformers', 'datasets', 'grpc', 'fastapi'} & sys.modules.keys()))\n"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"usage: dqbart {name} [options]" in run.stdout
    assert "exit 0" in run.stdout
    assert "heavy []" in run.stdout


@pytest.mark.parametrize("target", [target for target, _ in COMMANDS.values()])
def test_every_command_is_a_settings_class_that_does_something(target: str) -> None:
    module, _, attribute = target.partition(":")
    settings = getattr(importlib.import_module(module), attribute)
    assert issubclass(settings, BaseSettings)
    assert callable(settings.cli_cmd)


def test_a_missing_dependency_names_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(COMMANDS, "compress", ("compress.absent:Compress", ""))
    monkeypatch.setattr(sys, "argv", ["dqbart", "compress"])
    with pytest.raises(SystemExit) as exit:
        cli.main()
    assert exit.value.code == 2
    message = "dqbart compress: error: the module compress.absent is not installed: pip install 'dqbart[compress]'\n"
    assert capsys.readouterr().err == message


class Example(Command):
    """An example."""

    size: int
    twice: bool = False

    def cli_cmd(self) -> None:
        if self.size > 10:
            raise SystemExit(f"size = {self.size}: at most 10 is accepted")
        if self.size < 0:
            raise SystemExit(3)
        print(self.size * (1 + self.twice))


def stopped(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str]:
    with pytest.raises(SystemExit) as exit:
        run_command(Example, "example", list(arguments))
    return exit.value.code, capsys.readouterr().err


def test_a_command_runs_with_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    run_command(Example, "example", ["--size", "4", "--twice"])
    assert capsys.readouterr().out == "8\n"


def test_a_wrong_value_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    code, error = stopped(capsys, "--size", "x")
    assert (code, error) == (
        2,
        "dqbart example: error: size = 'x': should be a valid integer, unable to parse string as an integer\n",
    )


def test_a_missing_value_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert stopped(capsys) == (2, "dqbart example: error: size: a value is required\n")


def test_a_required_value_may_come_from_the_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = tmp_path / "example.yaml"
    config.write_text("size: 5\n")
    run_command(Example, "example", ["--config", str(config)])
    assert capsys.readouterr().out == "5\n"


def test_a_commands_own_fault_is_reported_alike(capsys: pytest.CaptureFixture[str]) -> None:
    assert stopped(capsys, "--size", "11") == (2, "dqbart example: error: size = 11: at most 10 is accepted\n")


def test_a_commands_own_exit_code_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    assert stopped(capsys, "--size=-1") == (3, "")
