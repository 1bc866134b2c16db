"""A student small enough to be run in each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks.random_artifact import BART_BASE, write_random_artifact
from quant.scheme import Layers, Scheme

TINY = {
    **BART_BASE,
    "vocab_size": 203,
    "d_model": 64,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 96,
    "decoder_ffn_dim": 96,
    "max_position_embeddings": 160,
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny products are slower on several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a 2-2 student at 2-2-8."""
    folder = tmp_path_factory.mktemp("tiny") / "student"
    write_random_artifact(folder, Layers(2, 2), Scheme(2, 2, 8), TINY)
    return folder
