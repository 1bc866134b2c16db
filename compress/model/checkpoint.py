"""A checkpoint of stock `transformers`, or a packed artifact in the place of one, loaded strictly.

`from_pretrained` draws random weights for tensors that a file lacks, leaves out those that it has no place for, and makes a
tokenizer of special tokens alone where there are no tokenizer files. A model trained on such a thing is worthless, and no
loss says so: here each of these is an error.

An artifact becomes the stock class with plain weights (`quant.hf`): codes times scale in float32, heads that were removed as
heads of zeros, and nothing left in its configuration by which it could be taken for packed.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedConfig, PreTrainedModel
from transformers.utils import GENERATION_CONFIG_NAME, cached_file
from transformers.utils import logging as transformers_logging

import quant.hf  # noqa: F401  registers the format with transformers
from compress.errors import CompressError
from compress.model.embeddings import settle_embeddings
from compress.model.fitting_tokenizer import TokenizerMisfit, fitting
from quant.artifact import ArtifactError, is_artifact
from quant.configuration import SUPPORTED
from quant.layout import Architecture, ArchitectureError

_SHOWN = 5


class CheckpointError(CompressError):
    """A checkpoint that cannot be used. The message says what is wrong with it, or what is supported."""


def load_checkpoint(name: str, allow_pickle: bool = False, **options: Any) -> tuple[PreTrainedModel, Any]:
    """Model in float32 and tokenizer of a local folder or a hub id. Raises CheckpointError, of an artifact ArtifactError.

    Weights are read from safetensors; `allow_pickle` reads pytorch_model.bin where there is nothing else. `options` go to
    `from_pretrained`.
    """
    with _expected():
        if is_artifact(Path(name)):
            return _dequantized(name, options)
        config = AutoConfig.from_pretrained(name)
        check_model_type(config)
        tokenizer = AutoTokenizer.from_pretrained(name)
        for needed in ("pad_token_id", "eos_token_id"):
            if getattr(config, needed) is None:
                setattr(config, needed, getattr(tokenizer, needed))
        check_architecture(config)
        _check_pickle(name, allow_pickle)
        _check_generation_file(name)
        tokenizer = fitting(tokenizer, config)
        model, information = AutoModelForSeq2SeqLM.from_pretrained(
            name,
            config=config,
            dtype=torch.float32,
            use_safetensors=None if allow_pickle else True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # to name them
            **options,
        )
    missing = set(information["missing_keys"])
    missing -= settle_embeddings(model, missing)
    if faults := _weight_faults(model, missing, information) + _tokenizer_faults(tokenizer):
        raise CheckpointError("; ".join(faults))
    return model, tokenizer


def _dequantized(name: str, options: dict[str, Any]) -> tuple[PreTrainedModel, Any]:
    """An artifact, whose faults are told by the reader of artifacts."""
    model = AutoModelForSeq2SeqLM.from_pretrained(name, dtype=torch.float32, **options)
    tokenizer = AutoTokenizer.from_pretrained(name)
    del model.config.dqbart  # the card, which is of what is packed
    settle_embeddings(model, missing=())
    if faults := _tokenizer_faults(tokenizer):
        raise CheckpointError("; ".join(faults))
    return model, tokenizer


def check_architecture(config: PreTrainedConfig) -> Architecture:
    """What the student's layers are cut from. Raises ArchitectureError for what cannot be trained here, or not served."""
    check_model_type(config)  # of another architecture, nothing else need be said
    if (quantization := getattr(config, "quantization_config", None)) is not None:
        method = quantization.get("quant_method") if isinstance(quantization, dict) else quantization.quant_method
        raise ArchitectureError(f"its weights are quantized ({method}), weights in floating point are expected")
    return Architecture.from_config(config.to_dict())


def check_model_type(config: PreTrainedConfig) -> None:
    """Raises ArchitectureError."""
    if config.model_type not in SUPPORTED:
        raise ArchitectureError(f"model_type is {config.model_type!r}, supported are {', '.join(SUPPORTED)}")


@contextmanager
def _expected() -> Iterator[None]:
    """No bars, none of the warnings that are errors here, and every fault a CheckpointError or the artifact's own."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    except (ArchitectureError, TokenizerMisfit) as error:
        raise CheckpointError(str(error)) from error
    except SafetensorError as error:
        raise CheckpointError(f"its weights are no whole safetensors file: {error}") from error
    except (CheckpointError, ArtifactError):
        raise
    except Exception as error:  # of strange files, `transformers` and what it reads them with raise of every kind
        said = str(error).strip()
        plain = said if isinstance(error, OSError | ValueError | RuntimeError) else f"{type(error).__name__}: {said}"
        raise CheckpointError(f"it cannot be loaded: {plain}") from error
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


def _check_generation_file(name: str) -> None:
    """`from_pretrained` goes on without the settings of a file that it cannot read."""
    file = cached_file(name, GENERATION_CONFIG_NAME, _raise_exceptions_for_missing_entries=False)
    if file is None:
        return
    try:
        settings = json.loads(Path(file).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"its {GENERATION_CONFIG_NAME} is no JSON: {error}") from error
    if not isinstance(settings, dict):
        raise CheckpointError(f"its {GENERATION_CONFIG_NAME} is no JSON object of settings")


def _weight_faults(model: PreTrainedModel, missing: Collection[str], information: dict[str, Any]) -> list[str]:
    unexpected = sorted(information["unexpected_keys"])
    mismatched = sorted(
        f"{entry[0]} has shape {list(entry[1])}, {list(entry[2])} expected" for entry in information["mismatched_keys"]
    )
    layers = [key for key in unexpected if ".layers." in key]  # heads of other tasks may be left over
    kinds = [("missing", sorted(missing)), ("left over", layers), ("mis-shaped", mismatched)]
    if not missing and not mismatched:  # what is made up in their place says nothing
        tensors = (*model.named_parameters(), *model.named_buffers())
        strange = sorted(name for name, tensor in tensors if not bool(tensor.isfinite().all()))
        kinds.append(("NaN or infinity in", strange))
    return [f"{kind} tensors ({len(keys)}): {_first(keys)}" for kind, keys in kinds if keys]


def _tokenizer_faults(tokenizer: Any) -> list[str]:
    vocabulary = set(tokenizer.get_vocab())
    if len(vocabulary - set(tokenizer.all_special_tokens)) <= 1:  # a SentencePiece one always knows the word separator
        return [f"its tokenizer knows special tokens only ({len(vocabulary)}): tokenizer files are missing"]
    return []


def _first(entries: list[str]) -> str:
    more = f" and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else ""
    return ", ".join(entries[:_SHOWN]) + more
