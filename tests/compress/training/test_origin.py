from pathlib import Path

import pytest
import torch

from compress.data.encoded import Encoded
from compress.data.text_format import Example
from compress.model.teacher import load_teacher
from compress.model.told import Told
from compress.training.origin import origin, recorded_flags
from pipelines.scoring.evaluate import Evaluate

EXAMPLES = [Example({"source": "a"}, "b"), Example({"source": "c"}, "d")]


def test_flags_are_recorded_without_folders(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "test.jsonl").touch()
    monkeypatch.chdir(tmp_path)
    names = {
        "model": str(tmp_path / "model"),
        "data": "../" + tmp_path.name + "/test.jsonl",
        "output": tmp_path / "new.json",
    }
    flags = recorded_flags(Evaluate(**names, task="summarization", limit=3))
    assert (flags["model"], flags["data"], flags["output"], flags["limit"]) == ("model", "test.jsonl", "new.json", 3)
    assert "num_beams" not in flags, "a flag without a value is recorded"


def test_a_hub_id_is_no_path() -> None:
    assert recorded_flags(Evaluate(model="name/of-a-model", data="name/data@test"))["model"] == "name/of-a-model"


def test_the_origin_tells_other_texts_apart(teachers: dict[str, str]) -> None:
    teacher = load_teacher(teachers["bart"], Told("summarization"))

    def given(train):
        return origin("compress", {"limit": 3}, 7, torch.device("cpu"), teacher, train, EXAMPLES)

    record = given(EXAMPLES)
    assert (record["command"], record["flags"], record["seed"], record["device"]) == ("compress", {"limit": 3}, 7, "cpu")
    assert record["teacher"] == {"name": "bart", "digest": teacher.digest}
    assert record["train"] == record["valid"]
    assert record["train"]["examples"] == 2
    assert given(EXAMPLES[::-1])["train"]["digest"] != record["train"]["digest"]
    assert record["versions"]["torch"] == torch.__version__
    assert set(record["versions"]) == {"dqbart", "torch", "transformers", "python", "platform"}


@pytest.mark.parametrize("other", [[4, 6], [4]])
def test_segments_have_a_digest_of_their_ids(teachers: dict[str, str], other: list[int]) -> None:
    teacher = load_teacher(teachers["bart"], Told("summarization"))
    digests = [
        origin("finetune", {}, 0, torch.device("cpu"), teacher, [Encoded(ids, [0], [4], False)], [])["train"]["digest"]
        for ids in ([4, 5], [4, 5], other)
    ]
    assert digests[0] == digests[1] != digests[2]
