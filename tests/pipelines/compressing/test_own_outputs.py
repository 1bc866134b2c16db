"""What a student writes by the engine, from a packed tiny translator."""

from pathlib import Path

import pytest
import torch

from compress.data.dataset import Fields, Languages, load_examples
from compress.data.encoded import Encoded
from compress.model.teacher import load_teacher
from compress.model.told import Told
from compress.training.on_policy import Ask
from pipelines.compressing.own_outputs import write_outputs
from pipelines.pseudo_label.packed_teacher import pack_teacher

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def packed(teachers, pairs, tmp_path_factory) -> tuple[Path, list[Encoded]]:
    """A folder with an artifact, and examples."""
    folder = tmp_path_factory.mktemp("packed")
    teacher = load_teacher(teachers["mbart50"], Told("translation", ("de_DE", "en_XX")))
    pack_teacher(teacher, folder)
    examples = load_examples(pairs, "train", "translation", Fields(), Languages("de_DE", "en_XX"), limit=6)
    return folder, teacher.text_format.encode(examples, 32)


def test_outputs_begin_as_the_labels_do_and_end_in_time_or_with_an_end_token(packed) -> None:
    folder, examples = packed
    threads = torch.get_num_threads()
    outputs = write_outputs(folder, [Ask(example, 9, index) for index, example in enumerate(examples)], CPU)
    assert torch.get_num_threads() == threads
    assert len(outputs) == len(examples)
    for output, example in zip(outputs, examples, strict=True):
        assert output[0] == example.label_ids[0], "the language is forced"
        assert len(output) == 9 or output[-1] == example.label_ids[-1]
        assert len(output) <= 9


def test_an_output_depends_on_its_own_source_and_draws_alone(packed) -> None:
    folder, examples = packed
    asks = [Ask(example, 9, index) for index, example in enumerate(examples)]
    together = write_outputs(folder, asks, CPU)
    assert write_outputs(folder, asks[::-1][:2], CPU) == together[::-1][:2]
    others = write_outputs(folder, [ask._replace(seed=ask.seed + 100) for ask in asks], CPU)
    assert sum(one != other for one, other in zip(together, others, strict=True)) > 3
