"""A model's tokenizer.json, which a stranger may have made, read within limits and checked against the model.

`compress` checks by this before it trains what `serving` opens by it. It is the one module of `quant` that needs
`tokenizers`.

`tokenizers` trusts its file. What it may name can make megabytes of a short text (replacements one after the other, each
longer than what it replaces), take hours for a line (regular expressions), or stop with a panic, which is no Exception. So
the file says no more than the tokenizers of BART and mBART do: parts of known kinds, replacements that make nothing longer,
known patterns, tokens of ordinary length.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import Unigram

from quant.card import Card
from quant.errors import Error
from quant.strange_files import StrangeFileError, parse_json, read_bytes

TOKENIZER_FILE = "tokenizer.json"

BYTES_PER_TOKEN, OTHER_BYTES, MOST_BYTES = 256, 2**22, 2**26
"""A file may have so many bytes for each token of the model and so many more, and never more than the last. Those of BART
and mBART have about 70 a token."""

LONGEST_TOKEN = 256
"""Characters; a vocabulary of byte pairs has some of 128."""

MOST_PARTS = 16
"""Normalizers in one file, and so for the other kinds."""

PARTS = {
    "normalizer": {
        "BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Precompiled", "Prepend", "Replace", "Sequence",
        "Strip", "StripAccents",
    },
    "pre_tokenizer": {
        "BertPreTokenizer", "ByteLevel", "Digits", "Metaspace", "Punctuation", "Sequence", "Whitespace", "WhitespaceSplit",
    },
    "decoder": {"BPEDecoder", "ByteFallback", "ByteLevel", "Fuse", "Metaspace", "Replace", "Sequence", "Strip", "WordPiece"},
}  # fmt: skip
MODELS = {"BPE", "Unigram", "WordLevel", "WordPiece"}
INNER = ("normalizers", "pretokenizers", "decoders")
PATTERNS = {" {2,}", r"\s+"}
"""Regular expressions for what is replaced; conversions from SentencePiece write them."""

_UNKNOWN = "<unk>"
"""What it is called where the kind of vocabulary has no name for it."""

_NOWHERE = "\U0010fffd"

TRIAL = "A trial:  über 12 ﬁxed, “quoted” words, 東京 \u0301\u200b\ufffd and 🙂.\n\tThe end."


class TokenizerError(Error, ValueError):
    """A tokenizer that is missing, unreadable or at odds with the model. The message names the file, and every fault."""


class TokenizerFileError(ValueError):
    """A file that is not read. The message does not name it, and lists every fault."""


def open_tokenizer(folder: Path, card: Card, vocab_size: int) -> Tokenizer:
    """The tokenizer of a model of so many tokens that the card is of. Raises TokenizerError."""
    path = folder / TOKENIZER_FILE
    try:
        tokenizer = read_tokenizer(path, vocab_size)
    except StrangeFileError as error:
        raise TokenizerError(str(error)) from error
    except TokenizerFileError as error:
        raise TokenizerError(f"{path}: {error}") from error
    unknown = [token for token in card.tokens if tokenizer.token_to_id(token) is None]
    faults = [f"the card's token {token!r} is not in the vocabulary" for token in unknown]
    faults += vocabulary_faults(tokenizer, vocab_size)
    if faults:
        raise TokenizerError(f"{path}: " + "; ".join(faults))
    return tokenizer


def unknown_id(tokenizer: Tokenizer) -> int | None:
    """The token of what a vocabulary does not have; None for one that has everything and no such token.

    A vocabulary of bytes makes one only of a text that spells it, or a token that was taken out.
    """
    name = getattr(tokenizer.model, "unk_token", None)
    if name is not None:
        return tokenizer.token_to_id(name)
    if isinstance(tokenizer.model, Unigram) and len(found := tokenizer.model.tokenize(_NOWHERE)) == 1:
        # This kind does not tell; what it makes of a character that no text has does.
        return int(found[0].id)
    return tokenizer.token_to_id(_UNKNOWN)


def read_tokenizer(path: Path, vocab_size: int) -> Tokenizer:
    """The tokenizer in the file, for a model of so many tokens. Raises StrangeFileError and TokenizerFileError."""
    content = read_bytes(path, min(OTHER_BYTES + BYTES_PER_TOKEN * vocab_size, MOST_BYTES))
    try:
        described = parse_json(content)
    except ValueError as error:
        raise StrangeFileError(f"{path} is no readable tokenizer: {error}") from error
    if not isinstance(described, dict):
        raise StrangeFileError(f"{path} is no readable tokenizer: it holds no JSON object")
    if faults := list(_faults(described)):
        raise TokenizerFileError("; ".join(faults))
    del described
    try:
        tokenizer = Tokenizer.from_buffer(content)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        # A table of characters that is damaged is found out when it is used.
        tokenizer.decode(tokenizer.encode(TRIAL, add_special_tokens=False).ids)
    except BaseException as error:
        # tokenizers raises plain Exception; a panic in it is none, and comes under a name that cannot be imported.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise StrangeFileError(f"{path} is no readable tokenizer: {error}") from error
        raise
    return tokenizer


def _faults(described: Mapping[str, Any]) -> Iterator[str]:
    for kind, accepted in PARTS.items():
        parts = list(_parts(described.get(kind)))
        if len(parts) > MOST_PARTS:
            yield f"{kind} has {len(parts)} parts, {MOST_PARTS} at most are accepted"
        for part in parts:
            name = part.get("type") if isinstance(part, dict) else part
            if not isinstance(name, str) or name not in accepted:
                yield f"{kind} has a part {_short(name)}, accepted are {', '.join(sorted(accepted))}"
            elif fault := _longer(part):
                yield f"{kind} has a {name} {fault}"
    model = described.get("model")
    name = model.get("type") if isinstance(model, dict) else None
    if not isinstance(model, dict) or not isinstance(name, str) or name not in MODELS:
        yield f"its model is {_short(name)}, accepted are {', '.join(sorted(MODELS))}"
    elif model.get("dropout"):
        yield "its model has a dropout: the same text would have other tokens each time"


def _parts(part: Any) -> Iterator[Any]:
    """A part, and those that it is made of."""
    if part is not None:
        yield part
    if isinstance(part, dict):
        for name in INNER:
            inner = part.get(name)
            for each in inner if isinstance(inner, list) else ():
                yield from _parts(each)


def _longer(part: Mapping[str, Any]) -> str | None:
    """Why a part may make much of little."""
    if part["type"] == "Prepend" and not (isinstance(text := part.get("prepend"), str) and len(text) <= 1):
        return "of more than one character"
    if part["type"] == "Replace":
        pattern, content = part.get("pattern"), part.get("content")
        if not isinstance(pattern, dict) or len(pattern) != 1 or not isinstance(content, str):
            return "that cannot be read"
        ((kind, found),) = pattern.items()
        if kind == "Regex" and found not in PATTERNS:
            return f"of the pattern {_short(found)}, accepted are {', '.join(map(repr, sorted(PATTERNS)))}"
        if len(content) > (len(found) if kind == "String" and isinstance(found, str) else 1):
            return "that makes a text longer"
    return None


def vocabulary_faults(tokenizer: Tokenizer, vocab_size: int) -> Iterator[str]:
    """What keeps the tokens from being those of a model of so many."""
    vocabulary = tokenizer.get_vocab()
    # A vocabulary may be larger than the tokenizer (padded for speed), never smaller.
    if len(vocabulary) > vocab_size:
        yield f"it has {len(vocabulary)} tokens, the model {vocab_size}"
    elif vocabulary and (last := max(vocabulary.values())) >= vocab_size:
        yield f"it has a token of id {last}, the model's are 0 to {vocab_size - 1}"
    longest = max(map(len, vocabulary), default=0)
    if longest > LONGEST_TOKEN:
        yield f"it has a token of {longest} characters, {LONGEST_TOKEN} at most are accepted"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
