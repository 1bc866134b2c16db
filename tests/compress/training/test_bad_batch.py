import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from compress.data.batches import collate
from compress.data.encoded import Encoded
from compress.training.bad_batch import SeenBatch, save_bad_batches


def seen(total: float) -> SeenBatch:
    batch = collate([Encoded([5, 2], [2, 7], [7, 2], False), Encoded([6, 4, 2], [2], [8], False)], pad_id=1)
    return SeenBatch(3, 1, [40, 7], batch, {"total": torch.tensor(total), "task": torch.tensor(0.5)})


def test_a_batch_is_kept_with_its_ids_and_losses(tmp_path: Path) -> None:
    save_bad_batches(tmp_path / "bad", 12, [seen(float("nan"))])
    tensors = load_file(tmp_path / "bad" / "3.safetensors")
    assert tensors["source_ids"].tolist() == [[5, 2, 1], [6, 4, 2]]
    assert tensors["source_mask"].tolist() == [[True, True, False], [True, True, True]]
    assert tensors["decoder_ids"].tolist() == [[2, 7], [2, 1]]
    assert tensors["labels"].tolist() == [[7, 2], [8, -100]]
    record = json.loads((tmp_path / "bad" / "3.json").read_text(), parse_constant=lambda name: f"no JSON: {name}")
    assert record == {"step": 12, "epoch": 1, "examples": [40, 7], "losses": {"total": "nan", "task": 0.5}}


def test_which_batch_is_finite() -> None:
    assert [seen(total).is_finite for total in (1.0, float("inf"), float("nan"))] == [True, False, False]
