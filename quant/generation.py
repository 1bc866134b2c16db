"""How a model's outputs are searched for: what generation_config.json says, checked, in terms of the engine.

Names and meanings are those of `transformers`, so that a served answer is decoded as the model was validated: in the file
`max_length` and `min_length` count the decoder's start token, here lengths do not. A setting that changes what
`transformers` would generate and that the engine does not have is refused and not ignored, by the one check that `compress`
makes before it trains and `serving` when it starts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from quant.errors import Error

if TYPE_CHECKING:
    from quant.artifact import Artifact

EarlyStopping = bool | Literal["never"]

LIMITS: dict[str, dict[str, Any]] = {
    "num_beams": {"ge": 1},
    "length_penalty": {"ge": -10, "le": 10},
    "max_new_tokens": {"ge": 1},
    "min_new_tokens": {"ge": 0},
    "no_repeat_ngram_size": {"ge": 0},
    "encoder_no_repeat_ngram_size": {"ge": 0},
    "repetition_penalty": {"ge": 1e-3, "le": 1e3},
    "temperature": {"gt": 0, "allow_inf_nan": False},
    "top_k": {"ge": 0},
    "top_p": {"gt": 0, "le": 1},
}
"""What each number may be, in a file and in a request alike, as keywords of pydantic's fields."""

NUMBERS = ("length_penalty", "repetition_penalty", "temperature", "top_p")
"""Those that may have a fraction; all others are whole."""

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
    "diversity_penalty": (0, 0.0),
    "force_words_ids": (),
    "constraints": (),
    "suppress_tokens": ([],),
    "begin_suppress_tokens": ([],),
    "sequence_bias": (),
    "stop_strings": ([],),
    "max_time": (),
    "token_healing": (False,),
    "dola_layers": (),
}
"""Settings that the engine does not have, and the values (besides null) at which they change nothing."""

NEUTRAL_SEARCH: dict[str, Any] = {
    "num_beams": None,
    "max_length": None,
    "min_length": 0,
    "length_penalty": 1.0,
    "early_stopping": False,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "repetition_penalty": 1.0,
    "do_sample": False,
    "temperature": None,
    "top_k": None,
    "top_p": None,
}
"""Settings of the search, which, unlike tokens, one model may take over from another; and at which value they do nothing."""

MOST_IDS = 10_000
"""Of end tokens, of bad words, and of tokens in one of these."""


class GenerationConfigError(Error, ValueError):
    """Settings that the engine cannot follow. The message lists every fault."""


@dataclass(frozen=True)
class GenerationSettings:
    """What holds where a request says nothing; lengths in generated tokens, without the decoder's start token."""

    max_new_tokens: int
    min_new_tokens: int
    num_beams: int
    length_penalty: float
    early_stopping: EarlyStopping
    no_repeat_ngram_size: int
    encoder_no_repeat_ngram_size: int
    repetition_penalty: float
    do_sample: bool
    temperature: float
    top_k: int
    top_p: float
    bad_words_ids: tuple[tuple[int, ...], ...]
    eos_token_ids: tuple[int, ...]
    forced_eos_token_id: int | None
    most_new_tokens: int
    """Positions of the decoder, less the start token: no output may be longer."""

    @classmethod
    def read(cls, entries: Mapping[str, Any], eos_token_id: int, positions: int, vocab_size: int) -> Self:
        """Of generation_config.json; what it leaves out is as in `transformers`, except that without a length the model's
        positions are the only limit (`transformers` would stop after 20), and that without an end token `eos_token_id`, the
        model's own, ends an output (there, nothing would). Raises GenerationConfigError.
        """
        faults = dict(_faults({name: value for name, value in entries.items() if value is not None}, positions, vocab_size))
        given = {name: value for name, value in entries.items() if value is not None and name not in faults}
        end = given.get("eos_token_id", eos_token_id)
        settings = cls(
            max_new_tokens=given.get("max_new_tokens", given.get("max_length", positions) - 1),
            min_new_tokens=given.get("min_new_tokens", max(given.get("min_length", 0) - 1, 0)),
            num_beams=given.get("num_beams", 1),
            length_penalty=given.get("length_penalty", 1.0),
            early_stopping=given.get("early_stopping", False),
            no_repeat_ngram_size=given.get("no_repeat_ngram_size", 0),
            encoder_no_repeat_ngram_size=given.get("encoder_no_repeat_ngram_size", 0),
            repetition_penalty=given.get("repetition_penalty", 1.0),
            do_sample=given.get("do_sample", False),
            temperature=given.get("temperature", 1.0),
            top_k=given.get("top_k", 50),
            top_p=given.get("top_p", 1.0),
            bad_words_ids=tuple(tuple(word) for word in given.get("bad_words_ids", ())),
            eos_token_ids=tuple(dict.fromkeys(end)) if isinstance(end, list) else (end,),
            forced_eos_token_id=_single(given.get("forced_eos_token_id")),
            most_new_tokens=positions - 1,
        )
        if messages := [*faults.values(), *settings._contradictions()]:
            raise GenerationConfigError("; ".join(messages))
        return settings

    @classmethod
    def of(cls, artifact: Artifact) -> Self:
        """An artifact's own. Raises GenerationConfigError."""
        model = artifact.architecture
        return cls.read(artifact.generation_config, model.eos_token_id, model.max_position_embeddings, model.vocab_size)

    def entries(self) -> dict[str, Any]:
        """The settings as generation_config.json has them, everything said; `read` makes the same settings of it."""
        ends = list(self.eos_token_ids)
        entries: dict[str, Any] = {
            "max_length": self.max_new_tokens + 1,
            "min_length": self.min_new_tokens + 1 if self.min_new_tokens else 0,
            "num_beams": self.num_beams,
            "length_penalty": self.length_penalty,
            "early_stopping": self.early_stopping,
            "no_repeat_ngram_size": self.no_repeat_ngram_size,
            "encoder_no_repeat_ngram_size": self.encoder_no_repeat_ngram_size,
            "repetition_penalty": self.repetition_penalty,
            "do_sample": self.do_sample,
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": self.top_p,
            "eos_token_id": ends[0] if len(ends) == 1 else ends,
        }
        if self.bad_words_ids:  # an empty list is none to `transformers`
            entries["bad_words_ids"] = [list(word) for word in self.bad_words_ids]
        if self.forced_eos_token_id is not None:
            entries["forced_eos_token_id"] = self.forced_eos_token_id
        return entries

    @property
    def without_effect(self) -> tuple[str, ...]:
        """Settings that do nothing beside the others: those of draws or of beams where there are none."""
        sampling = () if self.do_sample else ("temperature", "top_k", "top_p")
        return sampling if self.num_beams > 1 else (*sampling, "early_stopping", "length_penalty")

    def in_effect(self) -> dict[str, float | int | bool | str]:
        """The settings of the search that do something, by the file's names: what a figure of quality must name."""
        entries, idle = self.entries(), self.without_effect
        return {
            name: entries[name] for name, neutral in NEUTRAL_SEARCH.items() if name not in idle and entries[name] != neutral
        }

    def _contradictions(self) -> Iterator[str]:
        if not 1 <= self.max_new_tokens <= self.most_new_tokens:
            yield f"at most {self.max_new_tokens} new tokens, 1 to {self.most_new_tokens} are possible"
        if self.min_new_tokens > self.max_new_tokens:
            yield f"at least {self.min_new_tokens} new tokens, but at most {self.max_new_tokens}"
        if self.do_sample and self.num_beams > 1:
            yield f"do_sample with num_beams = {self.num_beams} is not supported, sampling has one beam"


def has_length(entries: Mapping[str, Any]) -> bool:
    """Whether the entries of a generation_config.json say how long an output may be."""
    return any(entries.get(name) is not None for name in ("max_length", "max_new_tokens"))


def _faults(given: Mapping[str, Any], positions: int, vocab_size: int) -> Iterator[tuple[str, str]]:
    """Entries that are not supported whatever the others are, and why."""
    for name, neutral in NEUTRAL.items():
        if name in given and given[name] not in neutral:
            yield name, _refusal(given, name)
    for name in ("max_length", "min_length", *LIMITS):
        if name in given and (accepted := _number_fault(name, given[name], positions)):
            yield name, f"{_refusal(given, name)}, {accepted} is"
    if "early_stopping" in given and type(given["early_stopping"]) is not bool and given["early_stopping"] != "never":
        yield "early_stopping", f"{_refusal(given, 'early_stopping')}, true, false and 'never' are"
    if "do_sample" in given and type(given["do_sample"]) is not bool:
        yield "do_sample", f"{_refusal(given, 'do_sample')}, true and false are"
    tokens = f"of the vocabulary (0 to {vocab_size - 1})"
    if "eos_token_id" in given and not _are_ids(_listed(given["eos_token_id"]), vocab_size):
        yield "eos_token_id", f"{_refusal(given, 'eos_token_id')}, a token {tokens} or a list of some is"
    if "forced_eos_token_id" in given:
        ids = _listed(given["forced_eos_token_id"])
        if not (_are_ids(ids, vocab_size) and len(ids) == 1):
            yield "forced_eos_token_id", f"{_refusal(given, 'forced_eos_token_id')}, one token {tokens} is"
    words = given.get("bad_words_ids", [])
    if not (isinstance(words, list) and len(words) <= MOST_IDS and all(_are_ids(word, vocab_size) for word in words)):
        yield "bad_words_ids", f"{_refusal(given, 'bad_words_ids')}, a list of lists of tokens {tokens} is"


def _number_fault(name: str, value: Any, positions: int) -> str | None:
    """What is accepted instead, where a number is none or out of its limits."""
    limits = LIMITS.get(name, {"ge": 0})
    whole = name not in NUMBERS
    accepted = "a whole number" if whole else "a number"
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        return accepted
    if name.endswith("ngram_size"):
        limits = {**limits, "le": positions - 1}
    least, above, most = (limits.get(key) for key in ("ge", "gt", "le"))
    accepted += f" of at least {least}" if least is not None else f" above {above}"
    accepted += "" if most is None else f" and at most {most}"
    fits = -math.inf < value < math.inf and (least is None or value >= least) and (above is None or value > above)
    return None if fits and (most is None or value <= most) else accepted


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _single(value: Any) -> Any:
    return value[0] if isinstance(value, list) else value


def _are_ids(value: Any, vocab_size: int) -> bool:
    """Whether it is a list of tokens, with one at least."""
    return (
        isinstance(value, list)
        and 0 < len(value) <= MOST_IDS
        and all(type(each) is int and 0 <= each < vocab_size for each in value)
    )


def _refusal(given: Mapping[str, Any], name: str) -> str:
    shown = repr(given[name])
    return f"{name} = {shown if len(shown) <= 100 else shown[:100] + '…'} is not supported"
