"""The command line: `dqbart COMMAND …`, and what its commands share.

A command is a subclass of `Command`: a pydantic-settings class whose every field is declared once and is then a flag
(`--http-port`), an environment variable (`DQBART_HTTP_PORT`) and a key of the YAML file given by `--config` (`http_port`),
in this order of precedence; its `cli_cmd()` does the work. typer only lists the commands. The module of a command is
imported when the command is run, so that `dqbart --help` and the clients load neither torch nor ray.

A wrong setting stops a command before it works: `dqbart serve: error: http_port = 'abc': should be a valid integer`, exit
code 2. `cli_cmd` reports a fault of its own the same way by raising `SystemExit("what was wrong and what is accepted")`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_args

import typer
from pydantic import BaseModel, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    CliApp,
    CliPositionalArg,
    CliSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

COMMANDS: dict[str, tuple[str, str]] = {
    "finetune": ("compress.commands.finetune:Finetune", "Make a teacher: fine-tune, or pretrain by denoising."),
    "compress": ("pipelines.compressing.compress:Compress", "Make a small, quantized student of a teacher checkpoint."),
    "evaluate": ("pipelines.scoring.evaluate:Evaluate", "Measure a model's quality on a data set."),
    "compare": ("pipelines.scoring.compare:Compare", "Show what changed from a teacher to its student."),
    "export": ("compress.commands.export:Export", "Write an artifact for transformers and other engines."),
    "inspect": ("compress.commands.inspect:Inspect", "Show what an artifact holds: scheme, layers, sizes."),
    "sweep": ("pipelines.commands:Sweep", "Compress a teacher in many ways, and compare the students."),
    "pseudo-label": ("pipelines.commands:PseudoLabel", "Write a teacher's own outputs, to train students on."),
    "augment": ("pipelines.augment.commands:Augment", "Make more training data of the data there is, by rules."),
    "batch": ("pipelines.batch.commands:Batch", "Run a model over every row of files and data sets."),
    "serve": ("serving.server.settings:Serve", "Serve artifacts over HTTP and gRPC."),
    "key": ("serving.server.key:Key", "Make an API key."),
    "translate": ("serving.clients.commands:Translate", "Translate, with a running server or a model here."),
    "summarize": ("serving.clients.commands:Summarize", "Summarize, with a running server or a model here."),
    "answer": ("serving.clients.commands:Answer", "Answer questions, with a running server or a model here."),
    "bench engine": ("benchmarks.commands:BenchEngine", "Compare the engine's speed with a peer's."),
    "bench memory": ("benchmarks.commands:BenchMemory", "Measure the memory of a loaded student."),
    "bench arrivals": ("benchmarks.commands:BenchArrivals", "Compare continuous with static batching."),
    "bench search": ("benchmarks.commands:BenchSearch", "Measure what searching and drawing cost."),
    "bench neighbours": ("benchmarks.commands:BenchNeighbours", "Measure threads beside busy processes."),
    "bench service": ("benchmarks.service.commands:BenchService", "Measure what the service adds to its engine."),
    "bench soak": ("benchmarks.service.commands:BenchSoak", "Watch a server under mixed traffic for a long time."),
    "bench stops": ("benchmarks.service.commands:BenchStops", "Stop servers in every phase of their start and work."),
    "bench holds": ("benchmarks.service.commands:BenchHolds", "Find what holds a replica's loop, and for how long."),
    "bench capacity": ("benchmarks.commands:BenchCapacity", "Find how many replicas a load needs."),
    "bench batch": ("benchmarks.commands:BenchBatch", "Compare batches with the bare engine."),
    "bench training": ("benchmarks.commands:BenchTraining", "Compare a training step with the naive loop's."),
}
"""Command → where its class is, and the line that the list of commands shows. The first of two words is a group."""

GROUPS = {"bench": "Measure speed and memory."}
"""Group → the line that the list of commands shows."""

EXTRAS = {
    "compress": "dqbart[compress]",
    "pipelines": "dqbart[compress]",
    "pipelines.batch": "dqbart[batch]",
    "benchmarks": "dqbart[compress,bench]",
}
"""Package → the extra that brings what it imports, where the plain install may lack it; an inner one goes before."""


class ConfigFile(PydanticBaseSettingsSource):
    """The YAML file that `--config` (or DQBART_CONFIG) names. Unknown keys are left to the settings' validation."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        path = self.current_state.get("config")
        if path is None:
            return {}
        import yaml

        try:
            content = yaml.safe_load(Path(path).read_text())
        except OSError as error:
            raise SystemExit(f"config = {str(path)!r}: {error.strerror or error}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise SystemExit(f"config = {str(path)!r}: no valid YAML: {error}") from error
        if content is None:
            return {}
        if not isinstance(content, dict):
            raise SystemExit(f"config = {str(path)!r}: a mapping of settings to values is expected")
        return {str(key): value for key, value in content.items()}


class Command(BaseSettings):
    """Base of every command: where settings come from, and how flags are spelt."""

    model_config = SettingsConfigDict(
        env_prefix="DQBART_",
        extra="forbid",
        use_attribute_docstrings=True,
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
    )

    config: Path | None = Field(
        default=None, description="YAML file of settings, keys like http_port; flags and DQBART_* win"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, ConfigFile(settings_cls)


class _HelpFormatter(argparse.HelpFormatter):
    """argparse's, without the defaults that say nothing, and with a usage of one line: the settings are listed below it."""

    def add_usage(
        self,
        usage: str | None,
        actions: Iterable[argparse.Action],
        groups: Iterable[argparse._MutuallyExclusiveGroup],
        prefix: str | None = None,
    ) -> None:
        self._prog += " [options]"
        super().add_usage(usage, [action for action in actions if not action.option_strings], [], prefix)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help or ""
        for nothing in ("(default: None)", "(default: [])", "(default: )"):
            text = text.replace(nothing, "")
        # What a function gives is said by the description, where its name would be shown.
        return re.sub(r"\(default factory: \w+\)", "", text).strip()


S = TypeVar("S", bound=BaseSettings)

POSITIONAL = get_args(CliPositionalArg[str])[1]
"""How pydantic-settings marks what is given without a flag."""

AS_GIVEN = object()
"""Marks a list, `Annotated[list[str], AS_GIVEN]`, each of whose texts is taken as it is."""


class _Arguments(CliSettingsSource[Any]):
    """Takes texts without a flag, or marked AS_GIVEN, as they are: pydantic-settings would split them at commas."""

    def _merge_parsed_list(self, parsed_list: list[str], field_name: str) -> str:
        field = self.settings_cls.model_fields.get(field_name)
        if field is not None and any(mark in field.metadata for mark in (POSITIONAL, AS_GIVEN)):
            return json.dumps(parsed_list)
        return super()._merge_parsed_list(parsed_list, field_name)


def read_settings(command: type[S], name: str, arguments: list[str]) -> S:
    """The command's settings as they are now, without running it. Raises ValidationError, SettingsError, SystemExit."""
    source = _Arguments(command, cli_prog_name=f"dqbart {name}", formatter_class=_HelpFormatter)
    return command(_cli_settings_source=source(args=arguments))


def run_command(command: type[BaseSettings], name: str, arguments: list[str]) -> None:
    """Read the command's settings from `arguments`, environment and YAML file, and run it.

    Raises SystemExit: 2 with a message on stderr for settings that are wrong, 0 after --help.
    """
    program = f"dqbart {name}"
    try:
        source = _Arguments(command, cli_prog_name=program, formatter_class=_HelpFormatter)
        CliApp.run(command, cli_args=arguments, cli_settings_source=source)
    except ValidationError as error:
        _stop(program, describe(error, command))
    except SettingsError as error:
        _stop(program, str(error))
    except SystemExit as exit:
        if not isinstance(exit.code, str):
            raise
        _stop(program, exit.code)


def describe(error: ValidationError, settings: type[BaseModel]) -> str:
    """Each wrong setting as `key = value: what is accepted`, a line each."""
    lines = []
    for fault in error.errors():
        key = ".".join(str(part) for part in fault["loc"])
        message = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
        if fault["type"] == "extra_forbidden":
            lines.append(f"{key}: unknown setting, accepted are {', '.join(sorted(settings.model_fields))}")
        elif fault["type"] == "missing":
            lines.append(f"{key}: a value is required")
        elif key:
            lines.append(f"{key} = {fault['input']!r}: {message}")
        else:
            lines.append(message)
    return "\n".join(lines)


def main() -> None:
    """Entry point of the `dqbart` script."""
    app = typer.Typer(
        help="Small, quantized seq2seq models: compressed offline, served fast.",
        epilog="dqbart COMMAND --help lists a command's settings.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
    )
    groups = {name: typer.Typer(no_args_is_help=True, rich_markup_mode=None) for name in GROUPS}
    for name, group in groups.items():
        app.add_typer(group, name=name, help=GROUPS[name])
    for name, (_, help_line) in COMMANDS.items():
        _register(groups.get(name.partition(" ")[0], app), name, help_line)
    app(prog_name="dqbart")


def _register(app: typer.Typer, name: str, help_line: str) -> None:
    # Every argument, --help included, goes to the command's own parser.
    forward = {"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": False}

    @app.command(name.rpartition(" ")[2], help=help_line, add_help_option=False, context_settings=forward)
    def command(context: typer.Context) -> None:
        module, _, attribute = COMMANDS[name][0].partition(":")
        try:
            run_command(getattr(importlib.import_module(module), attribute), name, context.args)
        except ModuleNotFoundError as error:
            inner, outer = module.rpartition(".")[0], module.partition(".")[0]
            extra = EXTRAS.get(inner) or EXTRAS.get(outer, "dqbart")
            _stop(f"dqbart {name}", f"the module {error.name} is not installed: pip install '{extra}'")


def _stop(program: str, message: str) -> NoReturn:
    print(f"{program}: error: {message}", file=sys.stderr)
    raise SystemExit(2)
