"""What serving would refuse, found before anything is trained, by the checks that serving makes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from compress.data.text_format import TextFormat
from compress.errors import CompressError
from quant.tokenizer_file import TRIAL, TokenizerError, open_tokenizer


class ServableError(CompressError):
    """A model that could be trained and packed, and then not be served."""


def check_servable(text_format: TextFormat, vocab_size: int) -> None:
    """Write the tokenizer as an artifact has it, and open it as the service does. Raises ServableError."""
    tokenizer, card = text_format.tokenizer, text_format.card
    with tempfile.TemporaryDirectory(prefix="dqbart-") as folder:
        tokenizer.save_pretrained(folder)
        try:
            served = open_tokenizer(Path(folder), card, vocab_size)
        except TokenizerError as error:
            fault = str(error).replace(f"{folder}/", "")
            raise ServableError(f"teacher {card.teacher} could not be served: {fault}") from error
    ids = tokenizer(TRIAL, add_special_tokens=False, verbose=False)["input_ids"]
    if served.encode(TRIAL, add_special_tokens=False).ids != ids:
        raise ServableError(
            f"teacher {card.teacher} could not be served: its {type(tokenizer).__name__} reads texts as other tokens than "
            "the tokenizer.json that it is saved as"
        )
    if card.output_text(served.decode(ids, skip_special_tokens=True)) != text_format.decode(ids):
        raise ServableError(
            f"teacher {card.teacher} could not be served: its {type(tokenizer).__name__} writes tokens as other texts than "
            "the tokenizer.json that it is saved as"
        )
