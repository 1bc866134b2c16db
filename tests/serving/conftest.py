"""Tiny artifacts with random weights: a vocabulary trained on the spot, mBART between two languages, BART for the rest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from quant.artifact import write_artifact
from quant.card import Card
from quant.layout import Architecture, model_layout
from quant.normalization import STEPS
from quant.scheme import Scheme
from serving.observability import requests
from tests.serving.server.running import Server, start_server

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
LANGUAGES = ("de_DE", "en_XX")
TEXTS = ["guten morgen welt", "good morning world", "wie geht es dir", "how are you", "who wrote the book", "she wrote it"]
POSITIONS = 64
REQUEST_TIMEOUT = 10
"""Of `shared_server`, in seconds."""

PLAIN: dict[str, Any] = {
    "source_prefix": ("<s>",),
    "source_suffix": ("</s>",),
    "decoder_start": "</s>",
    "forced_bos": None,
    "directions": (),
}
CARDS: dict[str, dict[str, Any]] = {
    "translator": {
        "task": "translation",
        "source_template": "{source}",
        "passage_separator": None,
        "source_prefix": ("{source_language}",),
        "source_suffix": ("</s>",),
        "decoder_start": "</s>",
        "forced_bos": "{target_language}",
        "directions": ("de_DE>en_XX", "en_XX>de_DE"),
    },
    "summarizer": {"task": "summarization", "source_template": "{source}", "passage_separator": None, **PLAIN},
    "answerer": {
        "task": "question-answering",
        "source_template": "question: {question} context: {context}",
        "passage_separator": " ; ",
        **PLAIN,
    },
}


def write_tiny_artifact(folder: Path, name: str) -> Path:
    """Write one of CARDS with its tokenizer; weights are random but the same each time."""
    folder.mkdir(parents=True)
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = [*SPECIAL, *LANGUAGES]
    tokenizer.train_from_iterator(
        TEXTS, trainers.UnigramTrainer(vocab_size=80, special_tokens=special, unk_token="<unk>", show_progress=False)
    )
    # A file may ask for truncation, which the service must not do.
    tokenizer.enable_truncation(max_length=8)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "model_type": "mbart" if name == "translator" else "bart",
        "vocab_size": tokenizer.get_vocab_size(),
        "d_model": 32,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "max_position_embeddings": POSITIONS,
        "activation_function": "gelu",
        "scale_embedding": name == "translator",
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": 2,
    }
    # Without it a random model repeats one token, whatever the source.
    generation = {"max_length": 13, "num_beams": 2, "forced_eos_token_id": 2, "no_repeat_ngram_size": 2}
    card = Card(
        **CARDS[name],
        normalization=STEPS,
        clean_up_tokenization_spaces=False,
        max_source_tokens=48,
        teacher="none",
        teacher_layers="1-1",
        teacher_bytes=1 << 20,
    )
    scheme = Scheme.parse("8-8-8")
    generator = torch.Generator().manual_seed(5)
    weights = {
        tensor.name: torch.randn(tensor.shape, generator=generator)
        for tensor in model_layout(Architecture.from_config(config), scheme)
    }
    write_artifact(folder, weights, config, generation, scheme, "sha256:0", card)
    return folder


@pytest.fixture(autouse=True)
def _no_current_request() -> Iterator[None]:
    """A request has a context of its own; tests share one, and what one of them began would count for the next."""
    token = requests._CURRENT.set(None)
    yield
    requests._CURRENT.reset(token)


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Name → folder of a tiny artifact of each task."""
    base = tmp_path_factory.mktemp("artifacts")
    return {name: write_tiny_artifact(base / name, name) for name in CARDS}


@pytest.fixture(scope="session")
def shared_server(artifacts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One of all artifacts, for the tests that ask nothing special of it and leave it as it is: a start takes long."""
    limits = ("--request-timeout", str(REQUEST_TIMEOUT), "--max-payload-bytes", "300000", "--max-windows", "1000")
    with start_server(tmp_path_factory.mktemp("server"), list(artifacts.values()), *limits) as server:
        yield server
