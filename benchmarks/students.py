"""The student that a bench runs: an artifact's folder, or one of random weights in a scratch folder."""

from __future__ import annotations

from pathlib import Path

from benchmarks.random_artifact import SHAPES, write_random_artifact
from benchmarks.shapes import Shape
from quant.scheme import Layers, Scheme


def student_folder(artifact: Path | None, layers: str, bits: str, scratch: Path, shape: Shape = "bart-base") -> Path:
    """Folder of the artifact to measure; a random one has its layers and bits in its name."""
    if artifact is not None:
        return artifact
    named = "" if shape == "bart-base" else f"{shape}-"
    folder = scratch / f"random-{named}{layers}-{bits.replace('/', '-')}"
    write_random_artifact(folder, Layers.parse(layers), Scheme.parse(bits), SHAPES[shape])
    return folder
