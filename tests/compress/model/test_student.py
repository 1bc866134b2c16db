import itertools

import pytest
import torch

from compress.model.student import StudentError, build_student, spaced_layers
from compress.model.teacher import load_teacher
from compress.model.told import Told
from quant.scheme import Layers


@pytest.mark.parametrize(
    ("student", "kept"),
    [(6, [0, 1, 2, 3, 4, 5]), (5, [0, 1, 3, 4, 5]), (4, [0, 2, 3, 5]), (3, [0, 2, 5]), (2, [0, 5]), (1, [5])],
)
def test_the_papers_table_for_six_teacher_layers(student: int, kept: list[int]) -> None:
    assert spaced_layers(6, student) == kept


@pytest.mark.parametrize("student", range(2, 13))
def test_twelve_layers_are_evenly_spaced_and_keep_both_ends(student: int) -> None:
    kept = spaced_layers(12, student)
    gaps = [after - before for before, after in itertools.pairwise(kept)]
    assert (kept[0], kept[-1], len(kept)) == (0, 11, student)
    assert max(gaps) - min(gaps) <= 1


def test_a_single_layer_may_be_the_first() -> None:
    assert spaced_layers(6, 1, single="first") == [0]


@pytest.mark.parametrize("student", [0, 7])
def test_a_student_that_does_not_fit_is_refused(student: int) -> None:
    with pytest.raises(StudentError, match="1 to 6"):
        spaced_layers(6, student)


def test_weights_are_those_of_the_mapped_layers(teachers: dict[str, str]) -> None:
    teacher = load_teacher(teachers["mbart50"], Told("translation", ("de_DE", "en_XX"))).model
    student = build_student(teacher, Layers(2, 1)).state_dict()
    source = teacher.state_dict()
    assert torch.equal(student["model.encoder.layers.1.fc1.weight"], source["model.encoder.layers.2.fc1.weight"])
    assert torch.equal(
        student["model.decoder.layers.0.encoder_attn.v_proj.weight"],
        source["model.decoder.layers.2.encoder_attn.v_proj.weight"],
    )
    assert torch.equal(student["model.shared.weight"], source["model.shared.weight"])
    assert not any(name.startswith("model.decoder.layers.1.") for name in student)


def test_a_student_of_all_layers_computes_what_the_teacher_does(teachers: dict[str, str]) -> None:
    teacher = load_teacher(teachers["bart"], Told("summarization")).model
    student = build_student(teacher, Layers(3, 3)).eval()
    ids = torch.tensor([[0, 6, 7, 8, 2]])
    assert torch.equal(student(input_ids=ids).logits, teacher(input_ids=ids).logits)
