"""A tokenizer for models of random weights, so that they can be served: a word is a token, called by its id."""

from __future__ import annotations

import random
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")


def write_words(folder: Path, vocab_size: int) -> None:
    """Write the tokenizer.json of an artifact: `w10` is token 10."""
    words = [*SPECIAL, *(f"w{number}" for number in range(len(SPECIAL), vocab_size))]
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))


def random_texts(count: int, fewest: int, most: int, vocab_size: int) -> tuple[str, ...]:
    """Texts of evenly spread lengths in tokens, always the same for the same arguments."""
    draw = random.Random(0)
    lengths = [fewest + (most - fewest) * place // max(1, count - 1) for place in range(count)]
    draw.shuffle(lengths)
    return tuple(" ".join(f"w{draw.randrange(len(SPECIAL), vocab_size)}" for _ in range(length)) for length in lengths)
