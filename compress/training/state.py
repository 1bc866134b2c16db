"""What a run needs to continue: written often, whole or not at all, and without pickle.

training/last/student.safetensors     full-precision weights of the student
training/last/optimizer.safetensors   first and second moments, random state
training/last/outputs.safetensors     the student's own outputs that are still to be trained on (on-policy distillation)
training/last/state.json              step, place in the epoch, learning-rate schedule, seconds of a run that time limits
training/best.safetensors             full-precision weights of the best validation
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from compress.model.quantized_modules import full_precision_weights
from compress.training.earlier_run import ResumeError
from quant.whole_files import latest, whole_folder

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")
_PLACE = ("step", "epoch", "position", "seconds", "schedule")


@dataclass(frozen=True)
class TrainingState:
    """Weights and moments by parameter name, the schedule, and the place in the data."""

    weights: dict[str, Tensor]
    moments: dict[str, Tensor]
    schedule: dict[str, Any]
    step: int
    epoch: int
    position: int
    seconds: float = 0.0
    """`compress.training.pace.Pace.seconds`."""
    outputs: dict[str, Tensor] = field(default_factory=dict)
    """`compress.training.on_policy.OnPolicy.state`."""

    @classmethod
    def capture(
        cls,
        student: PreTrainedModel,
        optimizer: torch.optim.Optimizer,
        scheduler: Any,
        step: int,
        epoch: int,
        position: int,
        seconds: float,
        outputs: dict[str, Tensor],
    ) -> TrainingState:
        moments = {"random_state": torch.get_rng_state()}
        if torch.cuda.is_available():
            moments["cuda_random_state"] = torch.cuda.get_rng_state()
        for name, parameter in student.named_parameters():
            for moment in _MOMENTS:
                if parameter in optimizer.state:
                    moments[f"{name}.{moment}"] = optimizer.state[parameter][moment]
        schedule = {key: value for key, value in scheduler.state_dict().items() if key in ("last_epoch", "_step_count")}
        return cls(full_precision_weights(student), moments, schedule, step, epoch, position, seconds, outputs)

    def restore(self, student: PreTrainedModel, optimizer: torch.optim.Optimizer, scheduler: Any) -> None:
        """Put everything back in place, in the student's own tensors."""
        own = full_precision_weights(student)
        if set(own) != set(self.weights):
            raise ResumeError("the saved student has other layers than this run's")
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(self.weights[name])
        for name, parameter in student.named_parameters():
            if f"{name}.step" in self.moments:
                saved = {moment: self.moments[f"{name}.{moment}"] for moment in _MOMENTS}
                optimizer.state[parameter] = {key: value.to(parameter.device) for key, value in saved.items()}
        scheduler.load_state_dict({**scheduler.state_dict(), **self.schedule})
        for group, rate in zip(optimizer.param_groups, _rates(scheduler), strict=True):
            group["lr"] = rate
        torch.set_rng_state(self.moments["random_state"])
        if "cuda_random_state" in self.moments and torch.cuda.is_available():
            torch.cuda.set_rng_state(self.moments["cuda_random_state"])

    def save(self, folder: Path, record: dict[str, Any]) -> None:
        """Take the place of the last state. `record` is kept in state.json. Raises WriteError; the last state then stays."""
        with whole_folder(folder) as partial:
            weights = {name: tensor.contiguous() for name, tensor in self.weights.items()}
            save_file(weights, partial / "student.safetensors")
            save_file(self.moments, partial / "optimizer.safetensors")
            save_file(self.outputs, partial / "outputs.safetensors")
            place = {key: getattr(self, key) for key in _PLACE}
            (partial / "state.json").write_text(json.dumps({**record, **place}, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> tuple[TrainingState, dict[str, Any]]:
        """The state and the record saved with it. Raises ResumeError."""
        folder = latest(folder)
        try:
            record = json.loads((folder / "state.json").read_text())
            weights = load_file(folder / "student.safetensors")
            moments = load_file(folder / "optimizer.safetensors")
            outputs = load_file(folder / "outputs.safetensors")
            place = {key: record.pop(key) for key in _PLACE}
        except FileNotFoundError as error:
            raise ResumeError(f"nothing to resume: {error.filename} does not exist") from error
        except Exception as error:
            raise ResumeError(f"{folder} cannot be resumed from: {error}") from error
        return cls(weights, moments, **place, outputs=outputs), record


def _rates(scheduler: Any) -> list[float]:
    return [base * rate(scheduler.last_epoch) for base, rate in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)]
