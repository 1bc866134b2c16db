import json
from pathlib import Path

import pytest

from compress.commands import early
from compress.data.dataset import Fields
from compress.model.told import Told

SHIPPED = Path(__file__).parents[3] / "models" / "mbart-de-en-2-4-8"


@pytest.mark.parametrize("name", ["facebook/bart-large-cnn", "bart", "some/new-folder"])
def test_what_may_be_on_the_hub_is_left_to_the_work(name: str) -> None:
    assert early.model_faults(name) == []


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("/no/such/folder", "/no/such/folder does not exist, and is no hub id, which is NAME or OWNER/NAME"),
        ("../no/such", "../no/such does not exist, and is no hub id, which is NAME or OWNER/NAME"),
        (__file__, f"{__file__} is a file: the folder of a model is expected"),
        (str(Path(__file__).parent), f"{Path(__file__).parent} is no model: the folder has no config.json"),
    ],
)
def test_a_model_that_is_none_is_told(name: str, fault: str) -> None:
    assert early.model_faults(name) == [fault]


def test_an_artifact_knows_its_task_and_directions() -> None:
    name = str(SHIPPED)
    assert early.told_faults(name, Told(None, ("de_DE", "en_XX"))) == []
    (fault,) = early.told_faults(name, Told())
    assert fault == (
        f"{name} takes --source-language de_DE --target-language en_XX or --source-language en_XX --target-language de_DE; "
        "none of them is given"
    )
    (fault,) = early.told_faults(name, Told(None, ("fr_XX", "en_XX")))
    assert fault.endswith("; fr_XX to en_XX is given")
    (fault,) = early.told_faults(name, Told("summarization"))
    assert "--task is summarization" in fault


def test_a_damaged_artifact_is_left_to_the_work(tmp_path: Path) -> None:
    config = json.loads((SHIPPED / "config.json").read_text())
    config["dqbart"] = {"task": "translation"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert early.card_of(str(tmp_path)) is None
    assert early.artifact_faults(tmp_path) == []
    (tmp_path / "config.json").write_text("{")
    assert early.artifact_faults(tmp_path) == []


def test_a_checkpoint_is_no_artifact(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bart"}')
    (fault,) = early.artifact_faults(tmp_path)
    assert "has no quantization_config of quant_method dqbart. If it is a checkpoint, `dqbart compress` makes" in fault


def test_the_folder_of_a_run_is_empty_or_resumed(tmp_path: Path) -> None:
    assert early.output_faults(tmp_path, resume=False) == []
    assert early.output_faults(tmp_path, resume=True) == [f"nothing to resume: {tmp_path}/training does not exist"]
    (tmp_path / "training" / "last").mkdir(parents=True)
    assert early.output_faults(tmp_path, resume=True) == []
    (fault,) = early.output_faults(tmp_path, resume=False)
    assert "holds an earlier run" in fault


def test_files_are_looked_at_and_hub_ids_are_not(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("source;target\nx;y\n")
    (tmp_path / "b.csv").write_text("a,b\nx,y\n")
    names = [str(tmp_path / "a.csv"), str(tmp_path / "b.csv"), "cnn_dailymail:3.0.0", "c.jsonl"]
    missing, gone = early.data_faults(names, "translation", Fields())
    assert "b.csv has no column source, target: it has a, b" in missing
    assert gone == "c.jsonl does not exist"
    assert early.data_faults(names[:2], None, Fields()) == []


def test_texts_for_denoising_need_one_column_or_none(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one text\n")
    (tmp_path / "b.csv").write_text("a,b\nx,y\n")
    names = [str(tmp_path / "a.txt"), str(tmp_path / "b.csv"), str(tmp_path / "c.txt")]
    missing, gone = early.text_faults(names, Fields())
    assert "b.csv has no column text or source" in missing
    assert gone.endswith("c.txt does not exist")
    assert early.text_faults(names[:2], Fields(source="a")) == []
