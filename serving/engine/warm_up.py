"""What only the first request of a model would pay for: pages that are read in, buffers that are made, code that is loaded.

Done when a model is loaded, before it takes requests, with a few tokens of each kind of search; by an engine that is given
up afterwards, so that nobody waits for it and nothing is counted.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from serving.engine.errors import InvalidRequest
from serving.engine.request import GenerationParameters, Request

if TYPE_CHECKING:
    from serving.engine.engine import Engine

SOURCE_TOKENS = 16
NEW_TOKENS = 3
BEAMS = 4


def warm_up(engine: Engine) -> None:
    """Run a source by greedy search, beams and draws, where the engine takes them. Its runner is empty before and after."""
    architecture = engine.architecture
    longest = architecture.max_position_embeddings
    plain = GenerationParameters(
        max_new_tokens=min(NEW_TOKENS, longest),
        min_new_tokens=min(NEW_TOKENS, longest),
        decoder_start_token_id=architecture.start_token_id,
        eos_token_ids=(architecture.eos_token_id,),
    )
    kinds = (
        plain,
        replace(plain, num_beams=BEAMS, num_return_sequences=BEAMS),
        replace(plain, do_sample=True),
        replace(plain, do_sample=True, top_k=2 * BEAMS),
    )
    source = tuple(range(min(SOURCE_TOKENS, longest, architecture.vocab_size)))
    for parameters in kinds:
        with suppress(InvalidRequest):
            engine.submit(Request(source, parameters))
        while engine.has_work:
            engine.step()
