"""The student before training: fewer layers, each copied from a teacher layer (section 2.2 of the paper)."""

from __future__ import annotations

import copy

import torch
from transformers import AutoModelForSeq2SeqLM, PreTrainedModel

from compress.errors import CompressError
from compress.model.embeddings import tie_embeddings
from quant.scheme import Layers


class StudentError(CompressError):
    """A student that cannot be made from the teacher."""


def spaced_layers(teacher: int, student: int, single: str = "last") -> list[int]:
    """Indices of maximally spaced teacher layers, one for each student layer; first and last are kept.

    `single` says which layer a student of one layer takes: "last" (the paper's choice) or "first".
    Raises StudentError when the student is deeper than the teacher.
    """
    if not 1 <= student <= teacher:
        raise StudentError(f"a student of {student} layers cannot be made from {teacher} teacher layers: 1 to {teacher}")
    if student == 1:
        return [teacher - 1 if single == "last" else 0]
    if (teacher, student) == (6, 5):
        return [0, 1, 3, 4, 5]  # the one row of the paper's table that even spacing does not give
    return [round(index * (teacher - 1) / (student - 1)) for index in range(student)]


def build_student(teacher: PreTrainedModel, layers: Layers, single: str = "last") -> PreTrainedModel:
    """A full-precision copy of the teacher with `layers`, embeddings, positions and final norms copied whole."""
    config = copy.deepcopy(teacher.config)
    config.encoder_layers, config.decoder_layers = layers.encoder, layers.decoder
    config.num_hidden_layers = layers.encoder
    student: PreTrainedModel = AutoModelForSeq2SeqLM.from_config(config, attn_implementation="eager")
    tie_embeddings(student)
    kept = {
        "encoder": spaced_layers(teacher.config.encoder_layers, layers.encoder, single),
        "decoder": spaced_layers(teacher.config.decoder_layers, layers.decoder, single),
    }
    source = teacher.state_dict()
    target = student.state_dict()
    with torch.no_grad():
        for name, tensor in target.items():
            tensor.copy_(source[_teacher_name(name, kept)])
    student.generation_config = copy.deepcopy(teacher.generation_config)
    return student


def _teacher_name(name: str, kept: dict[str, list[int]]) -> str:
    """`model.decoder.layers.1.fc1.weight` → the same tensor of the teacher layer that student layer 1 is copied from."""
    parts = name.split(".")
    if len(parts) > 3 and parts[2] == "layers":
        parts[3] = str(kept[parts[1]][int(parts[3])])
    return ".".join(parts)
