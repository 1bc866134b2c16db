"""Runs `dqbart export`: an artifact to a new folder, which is there whole or not at all."""

from __future__ import annotations

import sys

from rich.console import Console

from compress.commands.export import Export
from compress.expected_errors import EXPECTED_ERRORS
from compress.model.export import export_transformers
from compress.model.export_int8 import export_int8
from quant.artifact import WEIGHTS_FILE, read_artifact
from quant.whole_files import whole_folder


def run_export(settings: Export) -> int:
    """Returns the exit code: 0 written, 1 failed."""
    try:
        artifact = read_artifact(settings.model)
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
