"""Runs `dqbart export`: an artifact to a new folder, which is there whole or not at all."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from compress.commands.export import Export
from compress.errors import EXPECTED_ERRORS, CompressError
from compress.model.export import export_transformers
from compress.model.export_int8 import export_int8
from quant.artifact import WEIGHTS_FILE, Artifact, is_artifact, read_artifact
from quant.header import FORMAT
from quant.whole_files import whole_folder


class ExportError(CompressError):
    """A model that cannot be exported, or a place that it cannot be written to."""


def run_export(settings: Export) -> int:
    """Returns the exit code: 0 written, 1 failed."""
    try:
        artifact = _checked(settings)
        with whole_folder(settings.output) as folder:
            if settings.format == "int8":
                export_int8(artifact, folder)
            else:
                export_transformers(artifact, folder, settings.dtype)
    except EXPECTED_ERRORS as error:
        print(f"dqbart export: error: {error}", file=sys.stderr)
        return 1
    size = (settings.output / WEIGHTS_FILE).stat().st_size
    Console().print(f"[bold]{settings.output}[/bold]: {size / 1e6:.2f} MB of weights", highlight=False, soft_wrap=True)
    return 0


def _checked(settings: Export) -> Artifact:
    if not settings.model.is_dir():
        raise ExportError(f"{settings.model} is no folder: an artifact's folder is expected")
    if not is_artifact(settings.model):
        raise ExportError(
            f"{settings.model} is no artifact: its config.json has no quantization_config of quant_method {FORMAT}. "
            "`dqbart compress` makes artifacts"
        )
    if settings.format == "int8" and settings.dtype != "float32":
        raise ExportError(f"--dtype is {settings.dtype}, but an int8 export has float32 scales and biases; leave it out")
    _check_output(settings.output)
    return read_artifact(settings.model)


def _check_output(output: Path) -> None:
    if output.exists() and not output.is_dir():
        raise ExportError(f"output {output} is a file: name a new or an empty folder")
    if output.is_dir() and any(output.iterdir()):
        raise ExportError(f"output {output} is not empty: name a new or an empty folder")
