"""Which texts a calibration draws, when there is one, and how a group shares it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from compress import calibrating
from compress.calibrating import Calibrating, CalibrationError, CalibrationPlan, Sources, is_wanted
from compress.calibration.calibration import Mapped
from compress.calibration.tuning import TuningSettings
from compress.data.text_format import Example
from compress.model.quantized_modules import packable_weights, quantize_modules
from compress.model.student import build_student
from compress.model.teacher import Teacher, load_teacher
from compress.model.told import Told
from compress.training.group import Alone
from compress.training.loop import TrainingSettings
from quant.numerics import Quantized
from quant.scheme import Layers, Scheme

TEXTS = [f"{'ab' * (1 + index % 9)} {index % 7 * 'c'}d" for index in range(40)]


@pytest.fixture
def teacher(teachers: dict[str, str]) -> Teacher:
    return load_teacher(teachers["bart"], Told("summarization"))


def calibrating_of(teacher: Teacher, output: Path, seen: list[Example], **plan) -> Calibrating:
    def label(_, __, examples, advance):
        seen.extend(examples)
        advance(len(examples))
        return ["" if index == 0 else "abc" for index in range(len(examples))]

    return Calibrating(
        plan=CalibrationPlan(**plan),
        sources=Sources(lambda: [Example({"source": text}, "") for text in TEXTS], label),
        tuned=False,
        teacher=teacher,
        layers=Mapped([0, 2], [2]),
        output=output,
        console=Console(quiet=True),
        group=Alone(),
        training=training_of(seed=3),
        max_target_tokens=20,
    )


def training_of(seed: int) -> TrainingSettings:
    return TuningSettings(steps=1, bf16=False, seed=seed).training


def student_of(teacher: Teacher):
    student = build_student(teacher.model, Layers(2, 1))
    quantize_modules(student, Scheme.parse("2-4-8"))
    return student


@pytest.mark.parametrize(
    ("asked", "steps", "dropped", "quantized", "wanted"),
    [
        (None, False, False, True, True),
        (None, False, True, False, True),
        (None, False, False, False, False),
        (None, True, True, True, False),
        (True, True, False, True, True),
        (False, False, True, True, False),
        (False, False, False, False, False),
    ],
)
def test_when_there_is_one(asked: bool | None, steps: bool, dropped: bool, quantized: bool, wanted: bool) -> None:
    assert is_wanted(CalibrationPlan(asked), steps, dropped, quantized) is wanted


def test_asked_for_where_nothing_is_lost_it_is_refused() -> None:
    with pytest.raises(CalibrationError, match="nothing to make good in a student with all layers and in full precision"):
        is_wanted(CalibrationPlan(True), True, False, False)


def test_texts_are_drawn_by_the_seed_and_those_without_an_output_are_left_out(teacher: Teacher, tmp_path: Path) -> None:
    first, second, other = [], [], []
    found = calibrating_of(teacher, tmp_path / "a", first, examples=12).run(student_of(teacher), [], {})
    calibrating_of(teacher, tmp_path / "b", second, examples=12).run(student_of(teacher), [], {})
    replace(calibrating_of(teacher, tmp_path / "c", other, examples=12), training=training_of(seed=4)).run(
        student_of(teacher), [], {}
    )
    assert len(first) == 12
    assert first == second != other
    assert found["calibration"]["examples"] == 11


def test_without_a_number_as_many_are_drawn_as_fit(teacher: Teacher, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(calibrating, "NUMBERS", 32 * 100)  # 100 tokens of width 32
    seen: list[Example] = []
    calibrating_of(teacher, tmp_path, seen).run(student_of(teacher), [], {})
    tokens = sum(len(each.source_ids) for each in teacher.text_format.encode(seen, 2))
    assert 80 < tokens <= 100


def test_a_teacher_that_writes_nothing_is_calibrated_on_empty_outputs(teacher: Teacher, tmp_path: Path) -> None:
    found = calibrating_of(teacher, tmp_path, [], examples=1).run(student_of(teacher), [], {})
    assert found["calibration"]["examples"] == 1
    assert not (tmp_path / "training" / "calibration" / "labelling").exists()


class Second(Alone):
    """Of two processes the one that calibrates nothing."""

    rank = 1
    size = 2

    def __init__(self, record) -> None:
        self._record = record

    def from_first(self, find):
        return self._record


def test_others_of_a_group_take_over_what_the_first_made(teacher: Teacher, tmp_path: Path) -> None:
    first, second = student_of(teacher), student_of(teacher)
    own = calibrating_of(teacher, tmp_path, [], examples=12)
    found = own.run(first, [], {})
    assert replace(own, group=Second(found["calibration"])).run(second, [], {}) == found
    expected = packable_weights(first)
    for name, tensor in packable_weights(second).items():
        wanted = expected[name]
        if isinstance(tensor, Quantized):
            assert torch.equal(tensor.codes, wanted.codes), name
            assert torch.equal(tensor.scale, wanted.scale), name
        else:
            assert torch.equal(tensor, wanted), name
