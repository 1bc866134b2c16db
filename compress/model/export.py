"""An artifact as a plain `transformers` folder, which any release loads without this package.

The folder says in stock terms what the card says: the start token and the forced first token stand in the generation config
where the model has one target language, and in the README where they depend on the request. Two entries that BART's first
configurations had and stock classes no longer write (`normalize_before`, `normalize_embedding`) and `tokenizer_class` are
added: CTranslate2's converter asks for them.

What is given up is size, speed and the quantized activations: outputs are close to the engine's, not equal to them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoTokenizer, GenerationConfig, PretrainedConfig
from transformers.utils import logging as transformers_logging

import quant.hf  # noqa: F401  registers the format with transformers
from quant.artifact import Artifact
from quant.card import Card
from quant.generation import GenerationSettings

_WEIGHTS = """Weights are plain {dtype} numbers, for any release of `transformers`. CTranslate2 converts the folder with
`ct2-transformers-converter --model FOLDER --output_dir CONVERTED --quantization int8`"""


def export_transformers(artifact: Artifact, folder: Path, dtype: str) -> None:
    """Write weights in `dtype` (float32, bfloat16, float16), configurations, tokenizer and README to an existing folder."""
    transformers_logging.disable_progress_bar()
    model = AutoModelForSeq2SeqLM.from_pretrained(artifact.path, dtype=dtype)
    model.config, model.generation_config = configurations(artifact, save_tokenizer(artifact, folder))
    model.save_pretrained(folder)
    (folder / "README.md").write_text(readme(artifact, _WEIGHTS.format(dtype=dtype)), encoding="utf-8")


def save_tokenizer(artifact: Artifact, folder: Path) -> Any:
    """Write the artifact's tokenizer, set to its direction where it has only one; returns it."""
    tokenizer = AutoTokenizer.from_pretrained(artifact.path)
    if tokenizer.bos_token is None:  # mBART-50's of late; CTranslate2 does not load a model without one
        architecture = artifact.architecture
        first = architecture.eos_token_id if architecture.bos_token_id is None else architecture.bos_token_id
        tokenizer.bos_token = tokenizer.convert_ids_to_tokens(first)
    if len(artifact.card.language_pairs) == 1:
        tokenizer.src_lang, tokenizer.tgt_lang = artifact.card.language_pairs[0]
    tokenizer.save_pretrained(folder)
    return tokenizer


def configurations(artifact: Artifact, tokenizer: Any) -> tuple[PretrainedConfig, GenerationConfig]:
    """The model's stock configurations, which say what the card says as far as they can."""
    card = artifact.card
    entries = {key: value for key, value in artifact.config.items() if key not in ("quantization_config", "dqbart")}
    config = AutoConfig.for_model(**entries)
    generation = GenerationConfig.from_dict(_in_effect(artifact))
    config.normalize_before = artifact.architecture.normalizes_before
    config.normalize_embedding = True
    config.tokenizer_class = type(tokenizer).__name__
    targets = _target_languages(card)
    if len(targets) == 1:
        token_id = tokenizer.convert_tokens_to_ids
        config.decoder_start_token_id = card.decoder_start_id(token_id, targets[0])
        generation.decoder_start_token_id = config.decoder_start_token_id
        generation.forced_bos_token_id = card.forced_bos_id(token_id, targets[0])
    return config, generation


def _in_effect(artifact: Artifact) -> dict[str, Any]:
    """The generation settings without those that do nothing beside the others, of which `transformers` would complain."""
    settings = GenerationSettings.of(artifact)
    return {name: value for name, value in artifact.generation_config.items() if name not in settings.without_effect}


def readme(artifact: Artifact, weights: str) -> str:
    """What the folder is and how to use it, in Markdown; `weights` is a sentence on its weights, without its stop."""
    card = artifact.card
    template = ""
    if card.source_template != "{source}":
        template = f"The text given to the tokenizer is `{card.source_template}`, with its braces filled.\n\n"
    if card.passage_separator is not None:
        template += f"Passages of a context are joined by `{card.passage_separator!r}`, the most relevant first.\n\n"
    return f"""# {artifact.path.resolve().name}, exported

Written by `dqbart export` from an artifact of scheme {artifact.scheme} with {artifact.architecture.layers} layers, a
student of {card.teacher}, for {card.task}.

{weights}.

Activations are not quantized here, as they were in training and are in `dqbart serve`: outputs are close to that engine's
and not always equal to them.

{template}Sources of more than {card.max_source_tokens} tokens must be truncated.

```python
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

model = AutoModelForSeq2SeqLM.from_pretrained(FOLDER)
tokenizer = AutoTokenizer.from_pretrained(FOLDER)
{_language_line(card)}inputs = tokenizer(TEXT, return_tensors="pt", truncation=True, max_length={card.max_source_tokens})
ids = model.generate(**inputs{_start_argument(card)})
print(tokenizer.decode(ids[0], skip_special_tokens=True))
```
"""


def _target_languages(card: Card) -> list[str | None]:
    """The codes that start and first token may depend on; [None] for a model of one language."""
    return list(dict.fromkeys(target for _, target in card.language_pairs)) or [None]


def _language_line(card: Card) -> str:
    return f'tokenizer.src_lang = "{card.language_pairs[0][0]}"\n' if card.directions else ""


def _start_argument(card: Card) -> str:
    """What `generate` must be told for each request, because the target language is among several."""
    targets = _target_languages(card)
    if len(targets) == 1:
        return ""
    name = "decoder_start_token_id" if card.forced_bos is None else "forced_bos_token_id"
    return f', {name}=tokenizer.convert_tokens_to_ids("{targets[0]}")'
