"""A checkpoint of stock `transformers`, loaded strictly.

`from_pretrained` draws random weights for tensors that a file lacks, leaves out those that it has no place for, and makes a
tokenizer of special tokens alone where there are no tokenizer files. A model trained on such a thing is worthless, and no
loss says so: here each of these is an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedModel
from transformers.utils import logging as transformers_logging

from compress.errors import CompressError
from quant.layout import SUPPORTED, Architecture, ArchitectureError

_SHOWN = 5


class CheckpointError(CompressError):
    """A checkpoint that cannot be used. The message says what is wrong with it, or what is supported."""


def load_checkpoint(name: str, allow_pickle: bool = False, **options: Any) -> tuple[PreTrainedModel, Any]:
    """Model in float32 and tokenizer of a local folder or a hub id. Raises CheckpointError.

    Weights are read from safetensors; `allow_pickle` reads pytorch_model.bin where there is nothing else. `options` go to
    `from_pretrained`.
    """
    with _quiet():
        try:
            check_architecture(AutoConfig.from_pretrained(name))
            _check_pickle(name, allow_pickle)
            model, information = AutoModelForSeq2SeqLM.from_pretrained(
                name,
                dtype=torch.float32,
                use_safetensors=None if allow_pickle else True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # to name them
                **options,
            )
            tokenizer = AutoTokenizer.from_pretrained(name)
        except ArchitectureError as error:
            raise CheckpointError(str(error)) from error
        except SafetensorError as error:
            raise CheckpointError(f"its weights are no whole safetensors file: {error}") from error
        except (OSError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"it cannot be loaded: {error}") from error
    if faults := _weight_faults(information) + _tokenizer_faults(tokenizer, model):
        raise CheckpointError("; ".join(faults))
    return model, tokenizer


def check_architecture(config: Any) -> Architecture:
    """What the student's layers are cut from. Raises ArchitectureError."""
    if config.model_type not in SUPPORTED:  # of another architecture, nothing else need be said
        raise ArchitectureError(f"model_type is {config.model_type!r}, supported are {', '.join(SUPPORTED)}")
    return Architecture.from_config(config.to_dict())


@contextmanager
def _quiet() -> Iterator[None]:
    """No bars, and none of the warnings that are errors here."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)


def _check_pickle(name: str, allowed: bool) -> None:
    """The hub's checkpoints are left to `from_pretrained`, which then finds no safetensors."""
    folder = Path(name)
    pickles = sorted(path.name for path in folder.glob("*.bin"))
    if pickles and not allowed and not any(folder.glob("*.safetensors")):
        raise CheckpointError(
            f"it has only pickled weights ({', '.join(pickles)}), and a pickle can be made to run code: save them as "
            "safetensors, or let --allow-pickle read them if you trust where they come from"
        )


def _weight_faults(information: dict[str, Any]) -> list[str]:
    missing, unexpected = sorted(information["missing_keys"]), sorted(information["unexpected_keys"])
    mismatched = sorted(
        f"{entry[0]} has shape {list(entry[1])}, {list(entry[2])} expected" for entry in information["mismatched_keys"]
    )
    layers = [key for key in unexpected if ".layers." in key]  # heads of other tasks may be left over
    kinds = (("missing", missing), ("left over", layers), ("mis-shaped", mismatched))
    return [f"{kind} tensors ({len(keys)}): {_first(keys)}" for kind, keys in kinds if keys]


def _tokenizer_faults(tokenizer: Any, model: PreTrainedModel) -> list[str]:
    vocabulary = set(tokenizer.get_vocab())
    if len(vocabulary - set(tokenizer.all_special_tokens)) <= 1:  # a SentencePiece one always knows the word separator
        return [f"its tokenizer knows special tokens only ({len(vocabulary)}): tokenizer files are missing"]
    if len(tokenizer) > model.config.vocab_size:
        return [f"its tokenizer has {len(tokenizer):,} tokens, its embedding {model.config.vocab_size:,}"]
    return []


def _first(entries: list[str]) -> str:
    more = f" and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else ""
    return ", ".join(entries[:_SHOWN]) + more
