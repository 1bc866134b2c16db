"""How one request is decoded: the artifact's defaults, overridden by the request, within the model's and server's limits.

Defaults are read from generation_config.json under their `transformers` names, so that a served answer is decoded as the
model was evaluated. `max_length` and `min_length` count the decoder's start token there, our lengths do not. A setting that
changes what `transformers` would generate and that the engine does not have is refused at the start, not ignored.

Beams and sampling exclude each other. A request that asks for one of them means it, whatever the default is: `do_sample`
alone sets one beam, `num_beams` above 1 alone ends sampling; only a request with both is refused.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from serving.engine.request import GenerationParameters
from serving.service.errors import ErrorCode, ServiceError
from serving.service.requests import GenerationParameters as RequestedParameters
from serving.service.text import EncodedSource

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "num_beam_groups": (1,),
    "num_return_sequences": (1,),
    "penalty_alpha": (0, 0.0),
    "typical_p": (1, 1.0),
    "min_p": (0, 0.0),
    "top_h": (),
    "epsilon_cutoff": (0, 0.0),
    "eta_cutoff": (0, 0.0),
    "exponential_decay_length_penalty": (),
    "renormalize_logits": (False,),
    "guidance_scale": (1, 1.0),
    "watermarking_config": (),
    "encoder_repetition_penalty": (1, 1.0),
    "encoder_no_repeat_ngram_size": (0,),
    "diversity_penalty": (0, 0.0),
    "bad_words_ids": (),
    "force_words_ids": (),
    "suppress_tokens": ([],),
    "begin_suppress_tokens": ([],),
    "sequence_bias": (),
}
"""Settings that the engine does not have, and the values (besides null) at which they change nothing."""

NUMBERS = ("max_new_tokens", "max_length", "min_new_tokens", "min_length", "num_beams")
"""Settings that are compared before all of them are checked."""

UNLESS_REQUESTED: dict[str, Any] = {"num_return_sequences": 1, "return_scores": False}
"""What no model has defaults of its own for; a seed is drawn for each input."""

RANDOM_SEEDS = 1 << 32
"""Among how many seeds one is drawn: enough to never meet again, and short enough to be written down."""


class GenerationConfigError(ValueError):
    """A generation_config.json that the engine cannot follow. The message lists every fault."""


@dataclass(frozen=True)
class GenerationDefaults:
    """What holds where a request says nothing; lengths in generated tokens, without the decoder's start token."""

    max_new_tokens: int
    min_new_tokens: int
    num_beams: int
    length_penalty: float
    early_stopping: bool
    no_repeat_ngram_size: int
    repetition_penalty: float
    do_sample: bool
    temperature: float
    top_k: int
    top_p: float
    eos_token_id: int
    forced_eos_token_id: int | None
    most_new_tokens: int
    """Positions of the decoder, less the start token: no request may generate more."""

    @classmethod
    def read(cls, generation_config: Mapping[str, Any], eos_token_id: int, max_positions: int) -> GenerationDefaults:
        """Read generation_config.json; what it leaves out is as in `transformers`, except that without a length the model's
        positions are the only limit (`transformers` would stop after 20). Raises GenerationConfigError."""
        given = {key: value for key, value in generation_config.items() if value is not None}
        faults = [
            f"{key} = {given[key]!r} is not supported"
            for key, neutral in NEUTRAL.items()
            if given.get(key) not in (None, *neutral)
        ]
        no_numbers = [
            f"{key} = {given[key]!r} is not supported, a number is"
            for key in NUMBERS
            if key in given and (isinstance(given[key], bool) or not isinstance(given[key], int | float))
        ]
        if no_numbers:
            faults += no_numbers
            raise GenerationConfigError("; ".join(faults))
        if given.get("early_stopping") not in (None, True, False):
            faults.append(f"early_stopping = {given['early_stopping']!r} is not supported, true and false are")
        most = max_positions - 1
        defaults = cls(
            max_new_tokens=given.get("max_new_tokens", given.get("max_length", max_positions) - 1),
            min_new_tokens=given.get("min_new_tokens", max(given.get("min_length", 0) - 1, 0)),
            num_beams=given.get("num_beams", 1),
            length_penalty=given.get("length_penalty", 1.0),
            early_stopping=given.get("early_stopping", False) is True,
            no_repeat_ngram_size=given.get("no_repeat_ngram_size", 0),
            repetition_penalty=given.get("repetition_penalty", 1.0),
            do_sample=given.get("do_sample", False),
            temperature=given.get("temperature", 1.0),
            top_k=given.get("top_k", 50),
            top_p=given.get("top_p", 1.0),
            eos_token_id=_single(given, "eos_token_id", eos_token_id, faults),
            forced_eos_token_id=_single(given, "forced_eos_token_id", None, faults),
            most_new_tokens=most,
        )
        if not 1 <= defaults.max_new_tokens <= most:
            faults.append(f"at most {defaults.max_new_tokens} new tokens, 1 to {most} are possible")
        if defaults.min_new_tokens > defaults.max_new_tokens:
            faults.append(f"at least {defaults.min_new_tokens} new tokens, but at most {defaults.max_new_tokens}")
        if defaults.do_sample and defaults.num_beams > 1:
            faults.append(f"do_sample with num_beams = {defaults.num_beams} is not supported, sampling has one beam")
        try:
            defaults.requested()
        except ValidationError as error:
            faults += [f"{fault['loc'][0]} = {fault['input']!r}: {fault['msg']}" for fault in error.errors()]
        if faults:
            raise GenerationConfigError("; ".join(faults))
        return defaults

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
            decoder_start_token_id=source.decoder_start_token_id,
            forced_bos_token_id=source.forced_bos_token_id,
            eos_token_ids=(self.eos_token_id,),
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
            raise refused("num_beams", f"{beams}: the server allows {max_rows} at most")
        if chosen["do_sample"] and beams > 1:
            raise refused("do_sample", f"true: num_beams is {beams}, sampling has one beam; leave one of them out")
        if chosen["do_sample"] and sequences > max_rows:
            raise refused("num_return_sequences", f"{sequences}: the server allows {max_rows} at most")
        if not chosen["do_sample"] and sequences > beams:
            message = f"{sequences}: num_beams is {beams}, and there are as many outputs at most; do_sample gives more"
            raise refused("num_return_sequences", message)


def _single(given: Mapping[str, Any], key: str, default: Any, faults: list[str]) -> Any:
    value = given.get(key, default)
    if isinstance(value, list) and len(value) == 1:
        (value,) = value
    if value is not None and type(value) is not int:
        faults.append(f"{key} = {given[key]!r} is not supported, one id is")
        return default
    return value


def refused(name: str, message: str) -> ServiceError:
    """Says what is wrong with a parameter."""
    return ServiceError(ErrorCode.BAD_PARAMETER, f"{name} = {message}", f"parameters.{name}")
