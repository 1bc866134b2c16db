"""Flags of `dqbart export`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import CliPositionalArg

from compress.commands import early
from dqbart.cli import Command


class Export(Command):
    """Write an artifact for other engines: a plain transformers folder, or 8-bit safetensors."""

    model: CliPositionalArg[Path] = Field(description="an artifact's folder")
    output: CliPositionalArg[Path] = Field(description="folder to write: a new or an empty one")
    format: Literal["transformers", "int8"] = Field(
        "transformers", description="transformers: weights in floating point; int8: codes and scales, as compressed-tensors"
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="type of the weights in a transformers folder; float32 alone loses nothing"
    )

    def faults(self) -> list[str]:
        """What can be told before the work."""
        whole = self.format == "transformers" or self.dtype == "float32"
        return [
            *early.artifact_faults(self.model),
            *early.new_folder_faults(self.output),
            *([] if whole else [f"--dtype is {self.dtype}, but an int8 export has float32 scales and biases; leave it out"]),
        ]

    def cli_cmd(self) -> None:
        early.stop_at("export", self.faults())
        from compress.commands.run_export import run_export

        sys.exit(run_export(self))
