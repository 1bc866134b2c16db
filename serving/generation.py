"""How one request is decoded: the artifact's defaults, overridden by the request, within the model's and server's limits.

Defaults are read from generation_config.json under their `transformers` names, so that a served answer is decoded as the
model was evaluated. `max_length` and `min_length` count the decoder's start token there, our lengths do not. A setting that
changes what `transformers` would generate and that the engine does not have is refused at the start, not ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.engine.request import GenerationParameters
from serving.errors import ErrorCode, ServiceError
from serving.messages import GenerationParameters as RequestedParameters
from serving.text import EncodedSource

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "do_sample": (False,),
    "num_beam_groups": (1,),
    "penalty_alpha": (0, 0.0),
    "repetition_penalty": (1, 1.0),
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
        if given.get("early_stopping") not in (None, True, False):
            faults.append(f"early_stopping = {given['early_stopping']!r} is not supported, true and false are")
        most = max_positions - 1
        defaults = cls(
            max_new_tokens=given.get("max_new_tokens", given.get("max_length", max_positions) - 1),
            min_new_tokens=given.get("min_new_tokens", max(given.get("min_length", 0) - 1, 0)),
            num_beams=given.get("num_beams", 1),
            length_penalty=float(given.get("length_penalty", 1.0)),
            early_stopping=given.get("early_stopping", False) is True,
            no_repeat_ngram_size=given.get("no_repeat_ngram_size", 0),
            eos_token_id=_single(given, "eos_token_id", eos_token_id, faults),
            forced_eos_token_id=_single(given, "forced_eos_token_id", None, faults),
            most_new_tokens=most,
        )
        if not 1 <= defaults.max_new_tokens <= most:
            faults.append(f"at most {defaults.max_new_tokens} new tokens, 1 to {most} are possible")
        if defaults.min_new_tokens > defaults.max_new_tokens:
            faults.append(f"at least {defaults.min_new_tokens} new tokens, but at most {defaults.max_new_tokens}")
        if defaults.num_beams < 1:
            faults.append(f"num_beams = {defaults.num_beams}, at least 1 is expected")
        if faults:
            raise GenerationConfigError("; ".join(faults))
        return defaults

    def requested(self) -> RequestedParameters:
        """The defaults in the form of a request's parameters, to show them."""
        return RequestedParameters(**{name: getattr(self, name) for name in RequestedParameters.model_fields})

    def resolve(self, requested: RequestedParameters, source: EncodedSource, max_beams: int) -> GenerationParameters:
        """The engine's parameters for one input. Raises ServiceError (bad_parameter)."""
        chosen = {name: self._chosen(requested, name) for name in RequestedParameters.model_fields}
        if requested.max_new_tokens is not None and requested.min_new_tokens is None:
            # A client that asks for a short output means it, whatever length the model was evaluated with.
            chosen["min_new_tokens"] = min(chosen["min_new_tokens"], requested.max_new_tokens)
        if chosen["max_new_tokens"] > self.most_new_tokens:
            raise _refused(
                "max_new_tokens", f"{chosen['max_new_tokens']}: the model generates {self.most_new_tokens} at most"
            )
        if chosen["min_new_tokens"] > chosen["max_new_tokens"]:
            raise _refused("min_new_tokens", f"{chosen['min_new_tokens']}: max_new_tokens is {chosen['max_new_tokens']}")
        if chosen["num_beams"] > max_beams:
            raise _refused("num_beams", f"{chosen['num_beams']}: the server allows {max_beams} at most")
        return GenerationParameters(
            **chosen,
            decoder_start_token_id=source.decoder_start_token_id,
            forced_bos_token_id=source.forced_bos_token_id,
            eos_token_id=self.eos_token_id,
            forced_eos_token_id=self.forced_eos_token_id,
        )

    def _chosen(self, requested: RequestedParameters, name: str) -> Any:
        value = getattr(requested, name)
        return getattr(self, name) if value is None else value


def _single(given: Mapping[str, Any], key: str, default: Any, faults: list[str]) -> Any:
    value = given.get(key, default)
    if isinstance(value, list) and len(value) == 1:
        return value[0]
    if value is not None and type(value) is not int:
        faults.append(f"{key} = {value!r} is not supported, one id is")
    return value


def _refused(name: str, message: str) -> ServiceError:
    return ServiceError(ErrorCode.BAD_PARAMETER, f"{name} = {message}", f"parameters.{name}")
