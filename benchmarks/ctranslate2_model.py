"""A student as a CTranslate2 model: the same layers, the same values, in float32 or in the peer's own int8.

CTranslate2's own loader of BART reads the dequantized student, so that the peer gets what its users get from a checkpoint.
Its vocabulary is strings; token 7 is called "7" here, which spares a tokenizer.
"""

from __future__ import annotations

from pathlib import Path

from ctranslate2.converters.transformers import BartLoader

from compress.model.packed_student import dequantized_student
from quant.artifact import Artifact


def write_ctranslate2(artifact: Artifact, folder: Path, quantization: str) -> None:
    """Write the student to a folder; `quantization` is CTranslate2's name of a weight type: float32, int8.

    Sources are read as they are given, without ids added; the decoder starts from the config's decoder_start_token_id.
    """
    # A model of its own: CTranslate2 quantizes in the memory of what it is given.
    model = dequantized_student(artifact)
    # Stock configurations do not say these two; the loader asks for them.
    model.config.normalize_before = artifact.architecture.normalizes_before
    model.config.normalize_embedding = True
    spec = BartLoader().get_model_spec(model)
    names = [str(token) for token in range(artifact.architecture.vocab_size)]
    spec.register_source_vocabulary(names)
    spec.register_target_vocabulary(names)
    spec.config.bos_token = names[artifact.architecture.bos_token_id or 0]
    spec.config.eos_token = names[artifact.architecture.eos_token_id]
    # No token is unknown; CTranslate2 wants the name of one that is in the vocabulary.
    spec.config.unk_token = names[artifact.architecture.pad_token_id]
    spec.config.decoder_start_token = names[artifact.architecture.start_token_id]
    spec.validate()
    spec.optimize(quantization)
    folder.mkdir(parents=True)
    spec.save(str(folder))
