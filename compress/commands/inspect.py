"""Flags of `dqbart inspect`."""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import Field
from pydantic_settings import CliPositionalArg

from compress.commands import early
from dqbart.cli import Command


class Inspect(Command):
    """Show what an artifact is: scheme, layers, size by part, ratio to the teacher, evaluations."""

    model: CliPositionalArg[Path] = Field(description="an artifact's folder")

    def cli_cmd(self) -> None:
        early.stop_at("inspect", early.artifact_faults(self.model))
        from compress.commands.run_inspect import run_inspect

        sys.exit(run_inspect(self))
