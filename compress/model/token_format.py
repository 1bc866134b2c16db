"""How a checkpoint writes texts as tokens: what its tokenizer puts around a text, and what its settings start outputs with.

The checkpoint's own settings decide the decoder's start and the forced first token. Only languages that a user names
override them: mBART-50 reads the source's code first and is forced to write the target's first, mBART-cc25 reads the
source's last and starts the decoder with the target's. A translator's languages become placeholders; of any other task they
are fixed, and are written into the card as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers import GenerationConfig

from compress.data.text_format import affixes
from compress.errors import CompressError
from quant.card import SOURCE_LANGUAGE, TARGET_LANGUAGE, Card, Task

LanguagePair = tuple[()] | tuple[str | None, str | None]
"""Codes of the source and the target, of which one may be None; empty where none is named."""


class TokenFormatError(CompressError):
    """Tokens or languages that a checkpoint does not have, or languages that would change nothing."""


@dataclass(frozen=True)
class TokenFormat:
    """What a card says of tokens."""

    source_prefix: tuple[str, ...]
    source_suffix: tuple[str, ...]
    decoder_start: str
    forced_bos: str | None
    directions: tuple[str, ...]


def read_token_format(
    tokenizer: Any, generation: GenerationConfig, task: Task, languages: LanguagePair, both_directions: bool
) -> TokenFormat:
    """Read it off; the tokenizer is set to the source's language, in place. Raises TokenFormatError."""
    codes = language_codes(tokenizer)
    source, target = _checked(task, languages, both_directions, set(tokenizer.get_vocab()), codes)
    if source is not None:
        tokenizer.src_lang = source
    prefix, suffix = (tuple(tokenizer.convert_ids_to_tokens(ids)) for ids in affixes(tokenizer))
    start = _token(tokenizer, generation, "decoder_start_token_id")
    forced = None if generation.forced_bos_token_id is None else _token(tokenizer, generation, "forced_bos_token_id")
    if not languages:
        return TokenFormat(prefix, suffix, start, forced, ())
    around = (*prefix, *suffix)
    spoken = source or next((token for token in around if token in codes), None)
    # mBART-cc25's place for the target's language, or mBART-50's.
    starts = spoken in suffix or (spoken not in prefix and forced not in codes)
    own = start if starts else forced
    if spoken not in around and own not in codes:
        raise TokenFormatError(
            f"its tokenizer ({type(tokenizer).__name__}) puts {' and '.join(filter(None, (source, target)))} nowhere, "
            "neither before a text nor after it, and its settings force no language: leave out --source-language and "
            "--target-language"
        )
    directions: tuple[str, ...] = ()
    written = target or (own if own in codes else source)
    if task == "translation":
        prefix, suffix = (tuple(SOURCE_LANGUAGE if each == source else each for each in side) for side in (prefix, suffix))
        directions = (f"{source}>{target}", f"{target}>{source}") if both_directions else (f"{source}>{target}",)
        written = TARGET_LANGUAGE
    assert written is not None, "one of the two languages is named"
    if starts:
        return TokenFormat(prefix, suffix, written, written if forced in codes else forced, directions)
    return TokenFormat(prefix, suffix, start, written, directions)


def unsaid_language(card: Card, codes: list[str]) -> str | None:
    """The language that stands around sources, where nothing says which one outputs are in; None where all is said."""
    if card.decoder_start in codes or card.forced_bos in codes:
        return None
    return next((token for token in (*card.source_prefix, *card.source_suffix) if token in codes), None)


def language_codes(tokenizer: Any) -> list[str]:
    """The codes that a tokenizer knows, such as en_XX."""
    return sorted(token for token in tokenizer.all_special_tokens if "_" in token)


def _checked(
    task: Task, languages: LanguagePair, both_directions: bool, known: set[str], codes: list[str]
) -> tuple[str | None, str | None]:
    """Source and target, None where they are not named."""
    source, target = languages or (None, None)
    if unknown := [language for language in (source, target) if language is not None and language not in known]:
        there = f"which has {', '.join(codes)}" if codes else "which has none"
        raise TokenFormatError(f"{', '.join(unknown)}: no language code of its tokenizer, {there}")
    if task != "translation" and both_directions:
        raise TokenFormatError(f"--both-directions is for translations, the task is {task}")
    if task == "translation" and languages:
        if source is None or target is None:
            given, missing = ("source", "target") if target is None else ("target", "source")
            raise TokenFormatError(
                f"--{given}-language is {source or target} alone: a translation needs --{missing}-language too"
            )
        if source == target:
            raise TokenFormatError(
                f"--source-language and --target-language are both {source}: a translation is from one language to another; "
                "other tasks may name one language"
            )
    return source, target


def _token(tokenizer: Any, generation: GenerationConfig, name: str) -> str:
    token_id, most = getattr(generation, name), len(tokenizer) - 1
    if type(token_id) is not int or not 0 <= token_id <= most:
        raise TokenFormatError(f"its settings say {name} {token_id!r}, a token of its tokenizer (0 to {most}) is expected")
    return str(tokenizer.convert_ids_to_tokens(token_id))
