"""What a calibration has finished, a file for each part of the student, so that one that was interrupted goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn

from compress.model.quantized_modules import QuantizedWeight
from compress.training.earlier_run import PLAN_FILE
from quant.whole_files import save_tensors, whole_files

_CLIP_VALUES = "clip_values"


class Saved:
    """A folder of parts by their names. A part is whole or not there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def restore(self, name: str, module: nn.Module) -> bool:
        """Make a module what `save` was given under this name; False where that is not there."""
        path = self._path(name)
        if not path.exists():
            return False
        state = load_file(path)
        for prefix, each in module.named_modules():
            if isinstance(each, QuantizedWeight) and f"{prefix}.{_CLIP_VALUES}".removeprefix(".") in state:
                each.learn_scales()
        module.load_state_dict(state)
        return True

    def save(self, name: str, module: nn.Module) -> None:
        """Raises WriteError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        save_tensors(self._path(name), {key: tensor.detach().cpu() for key, tensor in module.state_dict().items()}, {})

    def begin(self, plan: Mapping[str, Any]) -> None:
        """Say what the parts to come are of, all that decides them. Raises WriteError."""
        with whole_files(self.folder) as partial:
            (partial / PLAN_FILE).write_text(json.dumps(plan, indent=2) + "\n", encoding="utf-8")

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"
