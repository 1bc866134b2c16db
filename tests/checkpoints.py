"""Checkpoints as they are released, small: tokenizers trained on a few texts, random weights large enough for ids to differ.

BART's has the files of a byte-level BPE, mBART's nothing but its SentencePiece model, BERT's a vocabulary of word pieces.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import AutoTokenizer, BartConfig, BartForConditionalGeneration, MBartConfig, MBartForConditionalGeneration

_DRAW = random.Random(0)
WORDS = (
    "the model reads a source text and writes what it means in few words der Hund läuft über die Straße wir möchten ein Glas"
)
TEXTS = [" ".join(_DRAW.choices(WORDS.split(), k=12)).capitalize() + "." for _ in range(200)]
SHAPE: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 64,
    "init_std": 0.3,
    "dropout": 0.0,
}
SETTINGS: dict[str, Any] = {
    "max_length": 20,
    "num_beams": 3,
    "early_stopping": True,
    "no_repeat_ngram_size": 3,
    "length_penalty": 2.0,
    "min_length": 8,
    "forced_bos_token_id": 0,
    "forced_eos_token_id": 2,
}


def bart(folder: Path, settings: dict[str, Any], **config: Any) -> Path:
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(
        TEXTS, vocab_size=330, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"], show_progress=False
    )
    folder.mkdir(parents=True)
    trained.save_model(str(folder))
    _write_tokenizer_config(folder, "BartTokenizer")
    return _save(BartForConditionalGeneration, BartConfig, folder, settings, **config)


def mbart(folder: Path, tokenizer_class: str, settings: dict[str, Any], **config: Any) -> Path:
    import sentencepiece

    folder.mkdir(parents=True)
    texts = folder / "texts"
    texts.write_text("\n".join(TEXTS))
    sentencepiece.SentencePieceTrainer.train(
        input=str(texts), model_prefix=str(folder / "sp"), vocab_size=120, hard_vocab_limit=False, minloglevel=2
    )
    (folder / "sp.model").rename(folder / "sentencepiece.bpe.model")
    (folder / "sp.vocab").unlink()
    texts.unlink()
    _write_tokenizer_config(folder, tokenizer_class, src_lang="de_DE")
    given = {"decoder_start_token_id": 2, "scale_embedding": True, **config}
    return _save(MBartForConditionalGeneration, MBartConfig, folder, settings, **given)


def bert(folder: Path, settings: dict[str, Any], **tokenizer: Any) -> Path:
    """A BART with BERT's tokenizer, which knows no end token by that name."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = sorted({letter for text in TEXTS for letter in text.lower() if letter.isalpha()})
    words = sorted({word for text in TEXTS for word in text.lower().strip(".").split()})
    folder.mkdir(parents=True)
    vocabulary = [*special, *letters, *(f"##{letter}" for letter in letters), ".", ",", "!", "?", "'", *words]
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(vocabulary)) + "\n")
    _write_tokenizer_config(folder, "BertTokenizer", **tokenizer)
    ids = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 2}
    return _save(BartForConditionalGeneration, BartConfig, folder, settings, **ids)


def edit(path: Path, **entries: Any) -> None:
    """Change entries of a JSON object in a file, which may be new."""
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **entries}))


def _write_tokenizer_config(folder: Path, tokenizer_class: str, **entries: Any) -> None:
    edit(folder / "tokenizer_config.json", tokenizer_class=tokenizer_class, model_max_length=64, **entries)


def _save(model_class: Any, config_class: Any, folder: Path, settings: dict[str, Any], **config: Any) -> Path:
    torch.manual_seed(0)
    model = model_class(config_class(vocab_size=len(AutoTokenizer.from_pretrained(folder)), **{**SHAPE, **config}))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:  # biases and norms matter
                parameter.add_(torch.randn_like(parameter) * 0.05)
    for name, value in settings.items():
        setattr(model.generation_config, name, value)
    model.save_pretrained(folder)
    return folder
