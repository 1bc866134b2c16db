"""Codes of the matrices with a row a token, by what they are for: to be looked up, to be multiplied by, or both.

The head multiplies the decoder's last states h, so that its rows lose least by E[h h^T] of the teacher's. A row that is
looked up counts as it is. Of a matrix that does both (as in every released BART and mBART), the two are added, the states'
moment as a share of the mean of its diagonal and `LOOKED_UP` times the identity.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from compress.calibration.regression import RIDGE
from compress.calibration.saved import Saved
from compress.calibration.solver import solve
from compress.data.batches import Batch
from compress.model.quantized_modules import forget_evaluated, quantized_weights, set_codes, share_scales
from quant.layout import HEAD, TOKEN_MATRICES, Architecture

LOOKED_UP = 0.5
"""What being looked up counts beside being multiplied by; 0.1 to 1 give about the same."""


def calibrate_embeddings(student: PreTrainedModel, teacher: PreTrainedModel, batches: Sequence[Batch], saved: Saved) -> None:
    """Give the student's token matrices their codes, in place; the full-precision values are what they aim at."""
    architecture = Architecture.from_config(student.config.to_dict())
    modules = quantized_weights(student)
    states: Tensor | None = None
    for name in dict.fromkeys(architecture.stored_as(matrix) for matrix in TOKEN_MATRICES):
        module = modules[name]
        part = f"matrix-{name.removesuffix('.weight')}"
        if saved.restore(part, module):
            share_scales(student, name)
            continue
        weight = module.weight.detach()
        roles = {matrix for matrix in TOKEN_MATRICES if architecture.stored_as(matrix) == name}
        identity = torch.eye(weight.shape[1], device=weight.device)
        moment = identity
        if HEAD in roles:
            if states is None:
                states = _last_states(teacher, batches)
            moment = states / states.diagonal().mean() + (RIDGE if roles == {HEAD} else LOOKED_UP) * identity
        quantized = solve(weight, moment, module.bits)
        set_codes(student, name, quantized.codes, quantized.scale, weight)
        saved.save(part, module)
    forget_evaluated(student)


def _last_states(teacher: PreTrainedModel, batches: Sequence[Batch]) -> Tensor:
    """The second moment of the decoder's last states, float32 [width, width]."""
    total = torch.zeros(teacher.config.d_model, teacher.config.d_model, dtype=torch.float64, device=teacher.device)
    count = 0
    for batch in batches:
        states = teacher.model(**batch.model_inputs).last_hidden_state[batch.target_mask]
        total += states.T @ states
        count += len(states)
    return (total / count).float()
