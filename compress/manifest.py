"""The run manifest, manifest.json beside the weights: what a model was made of, with what, and how the run went.

    command, flags, seed           what was asked; files by their names only
    recipe                         of `compress`: the flags that the recipe named in `flags` stands for
    versions, device               what it ran on
    teacher, train, valid          sha256 of weights and texts, so that the same can be found or told from another
    calibration                    where there was one: its texts, tokens, seconds, and what of the last states it lost
    tuning                         where there was one: its steps
    started, finished, steps, …    the course of the run (`compress.training.course`)

Written with each new best, and once more when the run ends: `finished` is null in a run that was interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compress.errors import CompressError
from quant.strange_files import MissingFileError, StrangeFileError, read_json
from quant.whole_files import whole_files

MANIFEST_FILE = "manifest.json"

Manifest = Mapping[str, Any]


class ManifestError(CompressError):
    """A file that holds something else than a manifest."""


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Raises WriteError; the one before then stays."""
    with whole_files(folder) as partial:
        text = json.dumps(manifest, indent=2, ensure_ascii=False)
        (partial / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest | None:
    """None where there is none. Raises ManifestError."""
    path = folder / MANIFEST_FILE
    try:
        manifest = read_json(path)
    except MissingFileError:
        return None
    except StrangeFileError as error:
        raise ManifestError(str(error)) from error
    if not isinstance(manifest, dict):
        raise ManifestError(f"{path} holds no JSON object")
    return manifest


def summary(manifest: Manifest) -> dict[str, str]:
    """The lines of it that people look for, by what they are about. Raises ManifestError."""
    try:
        flags, best, versions = manifest["flags"], manifest["best"], manifest["versions"]
        examples = {split: f"{manifest[split]['examples']:,} examples" for split in ("train", "valid")}
        named = {
            split: f"{_names(flags[split])} ({count})" if split in flags else count for split, count in examples.items()
        }
        steps = f"{manifest['steps']:,}" + (f", best at {best['step']:,}" if best else "")
        lines = {"trained on": named["train"], "validated on": named["valid"], "steps": steps, "seed": str(manifest["seed"])}
        if calibration := manifest.get("calibration"):
            lines["calibrated on"] = told(calibration)
        if tuning := manifest.get("tuning"):
            lines["scales tuned"] = f"{tuning['steps']:,} steps"
        if manifest["tokens_per_second"]:
            speed = f"{manifest['tokens_per_second']:,} tokens/s"
            lines["trained in"] = f"{manifest['seconds'] / 60:,.1f} min at {speed} ({manifest['device']})"
        lines["made with"] = ", ".join(f"{name} {number}" for name, number in versions.items() if name != "platform")
    except (KeyError, TypeError, ValueError) as error:
        raise ManifestError(f"{MANIFEST_FILE} is no manifest of a run: {error!r}") from error
    return lines


def told(calibration: Mapping[str, Any]) -> str:
    """The record of a calibration as a line."""
    tokens = calibration["source_tokens"] + calibration["target_tokens"]
    return (
        f"{calibration['examples']:,} texts of {tokens:,} tokens with the teacher's outputs, "
        f"{calibration['seconds'] / 60:,.1f} min, {calibration['lost']:.1%} of the last states lost"
    )


def _names(value: str | list[str]) -> str:
    return value if isinstance(value, str) else ", ".join(value)
