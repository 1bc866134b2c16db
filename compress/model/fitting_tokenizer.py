"""A tokenizer that has more tokens than its model has embeddings, made to fit.

bart-large-cnn and bart-large-xsum are published so: `<mask>`, the last token, has no row. Nothing uses it, but a text that
happens to spell it gets an id outside of the embedding. Here such tokens are taken out of the tokenizer, and what spells one
becomes an unknown token, so that training, service and `transformers` read every text alike. A tokenizer that was made for
another model is not repaired: few tokens may be without a row, and none that the model itself names.
"""

from __future__ import annotations

import json
from collections.abc import Set
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from transformers import AutoTokenizer, PreTrainedConfig

from compress.errors import CompressError

MOST_TAKEN_OUT = 8
"""Tokens without a row that are taken for an oversight; released checkpoints have one."""

_ROLES = ("bos_token", "eos_token", "pad_token", "unk_token", "cls_token", "sep_token")
_FILE, _CONFIG = "tokenizer.json", "tokenizer_config.json"


class TokenizerMisfit(CompressError):
    """A tokenizer that is of another model."""


def fitting(tokenizer: Any, config: PreTrainedConfig) -> Any:
    """The tokenizer, or one without the tokens that have no row in the embedding. Raises TokenizerMisfit."""
    size = config.vocab_size
    beyond = tokens_beyond(tokenizer, size)
    if not beyond:
        return tokenizer
    fault = f"its tokenizer has {len(tokenizer):,} tokens, its embedding {size:,}"
    if len(beyond) > MOST_TAKEN_OUT:
        raise TokenizerMisfit(f"{fault}: at most {MOST_TAKEN_OUT} tokens may be without a row")
    if needed := sorted({getattr(tokenizer, role) for role in _ROLES} & beyond):
        raise TokenizerMisfit(f"{fault}: {', '.join(needed)} must have a row")
    with TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        if not (Path(folder) / _FILE).is_file():
            raise TokenizerMisfit(f"{fault}, and it cannot be written as {_FILE}, to take the rest out")
        _take_out(Path(folder), beyond, tokenizer)
        fitted = AutoTokenizer.from_pretrained(folder)
    if left := tokens_beyond(fitted, size):
        raise TokenizerMisfit(
            f"{fault}: {', '.join(sorted(left))} must have a row, as {type(fitted).__name__} adds them itself"
        )
    fitted.name_or_path = tokenizer.name_or_path
    return fitted


def tokens_beyond(tokenizer: Any, size: int) -> set[str]:
    """The tokens whose ids are not below `size`."""
    return {token for token, index in tokenizer.get_vocab().items() if index >= size}


def _take_out(folder: Path, beyond: Set[str], tokenizer: Any) -> None:
    described = json.loads((folder / _FILE).read_text(encoding="utf-8"))
    described["added_tokens"] = [token for token in described["added_tokens"] if token["content"] not in beyond]
    model = described["model"]
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        model["vocab"] = {token: index for token, index in vocabulary.items() if token not in beyond}
    else:
        model["vocab"] = [entry for entry in vocabulary if entry[0] not in beyond]
    if "merges" in model:
        model["merges"] = [pair for pair in model["merges"] if not beyond & {*_parts(pair), "".join(_parts(pair))}]
    settings = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    for name, value in settings.items():
        if isinstance(value, str) and name.endswith("_token") and value in beyond:
            settings[name] = None
        elif isinstance(value, list):
            settings[name] = [entry for entry in value if not isinstance(entry, str) or entry not in beyond]
    if tokenizer.unk_token is not None and not hasattr(tokenizer, "src_lang"):
        _make_unknown(described, beyond, tokenizer.unk_token)
        # The classes of BART build their tokenizer anew, without what was put before it; the general one reads the file.
        settings |= {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": tokenizer.model_input_names}
    (folder / _FILE).write_text(json.dumps(described, ensure_ascii=False), encoding="utf-8")
    (folder / _CONFIG).write_text(json.dumps(settings, ensure_ascii=False), encoding="utf-8")


def _parts(merge: Any) -> list[str]:
    return merge.split(" ") if isinstance(merge, str) else list(merge)


def _make_unknown(described: dict[str, Any], beyond: Set[str], unknown: str) -> None:
    """Have what spells a token that is gone read as the unknown one, which is then looked for after this replacement."""
    for token in described["added_tokens"]:
        token["normalized"] |= token["content"] == unknown
    replaced = [{"type": "Replace", "pattern": {"String": token}, "content": unknown} for token in sorted(beyond)]
    before = described["normalizer"]
    described["normalizer"] = {"type": "Sequence", "normalizers": [*replaced, *([before] if before else [])]}
