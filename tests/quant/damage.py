"""How tests damage an artifact, and what reading it then says."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from quant.artifact import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    ArtifactError,
    read_artifact,
)

Change = Callable[[dict[str, Tensor], dict[str, str]], Any]
"""Of tensors by name, and of the header."""


def fault(folder: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        read_artifact(folder)
    return str(caught.value)


def rewrite_weights(folder: Path, change: Change) -> None:
    """Change the tensors and the header of the weights file."""
    path = folder / WEIGHTS_FILE
    with safe_open(path, framework="pt") as file:
        header = dict(file.metadata())
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    change(tensors, header)
    save_file(tensors, path, metadata=header)


def rewrite_config(folder: Path, **changed: Any) -> None:
    config = json.loads((folder / CONFIG_FILE).read_text())
    (folder / CONFIG_FILE).write_text(json.dumps({**config, **changed}))


def header_end(content: bytes) -> int:
    return 8 + int(struct.unpack("<Q", content[:8])[0])
