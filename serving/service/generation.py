"""How one request is decoded: the artifact's defaults, overridden by the request, within the model's and server's limits.

Defaults are read from generation_config.json (`quant.generation`), so that a served answer is decoded as the model was
validated.

Beams and sampling exclude each other. A request that asks for one of them means it, whatever the default is: `do_sample`
alone sets one beam, `num_beams` above 1 alone ends sampling; only a request with both is refused.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from quant.generation import GenerationSettings
from serving.engine.request import GenerationParameters
from serving.service.errors import ErrorCode, ServiceError
from serving.service.requests import GenerationParameters as RequestedParameters
from serving.service.text import EncodedSource

UNLESS_REQUESTED: dict[str, Any] = {"num_return_sequences": 1, "return_scores": False}
"""What no model has defaults of its own for; a seed is drawn for each input."""

RANDOM_SEEDS = 1 << 32
"""Among how many seeds one is drawn: enough to never meet again, and short enough to be written down."""


@dataclass(frozen=True)
class GenerationDefaults(GenerationSettings):
    """What holds where a request says nothing."""

    def requested(self) -> RequestedParameters:
        """The defaults in the form of a request's parameters, to show them."""
        named = {name: getattr(self, name) for name in RequestedParameters.model_fields if hasattr(self, name)}
        return RequestedParameters.model_validate({**named, **UNLESS_REQUESTED}, strict=True)

    @cached_property
    def _as_requested(self) -> dict[str, Any]:
        return self.requested().model_dump()

    def resolve(self, requested: RequestedParameters, source: EncodedSource, max_rows: int) -> GenerationParameters:
        """The engine's parameters for one input; of draws without a seed, with a random one.

        Raises ServiceError (bad_parameter).
        """
        given = requested.model_dump(exclude_none=True)
        chosen = {**self._as_requested, **given}
        if "max_new_tokens" in given and "min_new_tokens" not in given:
            # A client that asks for a short output means it, whatever length the model was evaluated with.
            chosen["min_new_tokens"] = min(chosen["min_new_tokens"], given["max_new_tokens"])
        if chosen["do_sample"] and "num_beams" not in given:
            chosen["num_beams"] = 1
        if chosen["num_beams"] > 1 and "do_sample" not in given:
            chosen["do_sample"] = False
        if chosen["seed"] is None:
            chosen["seed"] = secrets.randbelow(RANDOM_SEEDS) if chosen["do_sample"] else 0
        self._check(chosen, max_rows)
        return GenerationParameters(
            **chosen,
            bad_words_ids=self.bad_words_ids,
            decoder_start_token_id=source.decoder_start_token_id,
            forced_bos_token_id=source.forced_bos_token_id,
            eos_token_ids=self.eos_token_ids,
            forced_eos_token_id=self.forced_eos_token_id,
        )

    def _check(self, chosen: Mapping[str, Any], max_rows: int) -> None:
        most, fewest, beams = chosen["max_new_tokens"], chosen["min_new_tokens"], chosen["num_beams"]
        sequences = chosen["num_return_sequences"]
        if most > self.most_new_tokens:
            raise refused("max_new_tokens", f"{most}: the model generates {self.most_new_tokens} at most")
        if fewest > most:
            raise refused("min_new_tokens", f"{fewest}: max_new_tokens is {most}")
        if beams > max_rows:
            raise refused("num_beams", f"{beams}: {max_rows} at most are decoded together, by max_batch_rows")
        if chosen["do_sample"] and beams > 1:
            raise refused("do_sample", f"true: num_beams is {beams}, sampling has one beam; leave one of them out")
        if chosen["do_sample"] and sequences > max_rows:
            raise refused("num_return_sequences", f"{sequences}: {max_rows} at most are decoded together, by max_batch_rows")
        if not chosen["do_sample"] and sequences > beams:
            message = f"{sequences}: num_beams is {beams}, and there are as many outputs at most; do_sample gives more"
            raise refused("num_return_sequences", message)


def refused(name: str, message: str) -> ServiceError:
    """Says what is wrong with a parameter."""
    return ServiceError(ErrorCode.BAD_PARAMETER, f"{name} = {message}", f"parameters.{name}")
