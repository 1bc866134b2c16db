"""What an artifact says of its use: the task, and how a text becomes source ids and decoder settings.

Training and serving must agree on this to the token, so it is data in the artifact (`dqbart` in config.json) rather than
code on both sides. Tokens are written as strings of the tokenizer's vocabulary; `{source_language}` and `{target_language}`
stand for the request's language codes.

    BART        <s> text </s>                    decoder starts with </s>
    mBART-50    {source_language} text </s>      decoder starts with </s>, {target_language} is forced first
    mBART-cc25  text </s> {source_language}      decoder starts with {target_language}
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from quant.normalization import STEPS, normalized

Task = Literal["translation", "summarization", "question-answering"]
TASKS: tuple[Task, ...] = get_args(Task)

SOURCE_LANGUAGE = "{source_language}"
TARGET_LANGUAGE = "{target_language}"

SOURCE_FIELDS: dict[Task, tuple[str, ...]] = {
    "translation": ("source",),
    "summarization": ("source",),
    "question-answering": ("question", "context"),
}
"""The texts of an input. The last of them is the one that may be shortened."""

CONTEXT = "context"
"""The one text that may be several passages."""

LONGEST_TEXT = 1000
LONGEST_SEPARATOR = 20
MOST_ENTRIES = 10_000
LARGEST_COUNT = 2**53 - 1
"""Of an entry: what is joined to every request must not be longer than requests, and JSON readers know numbers exactly."""

Texts = Mapping[str, str | tuple[str, ...]]
"""The texts of one input by the names of its task's source fields; a context may be passages, the most relevant first."""


class CardError(ValueError):
    """A card with missing, unknown or contradictory entries. The message lists them all."""


@dataclass(frozen=True)
class Card:
    """Everything the service must know to turn texts into engine requests."""

    task: Task
    source_template: str
    """The text given to the tokenizer, with {source}, or {question} and {context}."""
    passage_separator: str | None
    """What stands between the passages of a context, which keep their order; null where a source has no context."""
    normalization: tuple[str, ...]
    """What is done to each text before the tokenizer gets it: steps of quant/normalization.py, in their order there."""
    source_prefix: tuple[str, ...]
    source_suffix: tuple[str, ...]
    decoder_start: str
    forced_bos: str | None
    directions: tuple[str, ...]
    """What the model was trained to translate, SOURCE>TARGET by language codes; empty for models of one language."""
    clean_up_tokenization_spaces: bool
    """Whether an output loses the spaces before punctuation and contractions that its tokens spell (`cleaned_up`)."""
    max_source_tokens: int
    """Longest source with prefix and suffix, in tokens."""
    teacher: str
    teacher_layers: str
    teacher_bytes: int
    """Bytes of the teacher's weights in float32."""

    def to_dict(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> Card:
        """Raises CardError."""
        if not isinstance(entries, Mapping):
            raise CardError(f"the card is {entries!r}, an object is expected")
        names = [field.name for field in fields(cls)]
        faults = [f"{name} is missing" for name in names if name not in entries]
        faults += [f"{name} is unknown" for name in entries if name not in names]
        faults += [
            f"{field.name} is {entries[field.name]!r}, {_ENTRIES[field.type][0]} is expected"
            for field in fields(cls)
            if field.name in entries and not _ENTRIES[field.type][1](entries[field.name])
        ]
        if not faults and entries["task"] not in TASKS:
            faults.append(f"task is {entries['task']!r}, accepted are {', '.join(TASKS)}")
        if not faults:
            faults += template_faults(entries["task"], entries["source_template"])
            faults += separator_faults(entries["task"], entries["passage_separator"])
            if (steps := tuple(entries["normalization"])) != tuple(step for step in STEPS if step in steps):
                faults.append(
                    f"normalization is {list(steps)!r}, accepted are {', '.join(STEPS)}, each once and in this order"
                )
            faults += [
                f"{each!r} is no direction, SOURCE>TARGET is expected"
                for each in entries["directions"]
                if len({*each.split(">")} - {""}) != 2 or each.count(">") != 1
            ]
        if faults:
            raise CardError("; ".join(faults))
        values: dict[str, Any] = {
            name: tuple(entries[name]) if isinstance(entries[name], list) else entries[name] for name in names
        }
        return cls(**values)

    @property
    def long_field(self) -> str:
        """The text of an input that may be shortened or split: the source, or a question's context."""
        return SOURCE_FIELDS[self.task][-1]

    def joined(self, texts: Texts) -> dict[str, str]:
        """The texts of an input, normalized, its passages joined to one."""
        return {
            name: (self.passage_separator or "").join(normalized(part, self.normalization) for part in passages(text))
            for name, text in texts.items()
        }

    def source_text(self, texts: Texts) -> str:
        """The template filled with the task's texts."""
        return self.source_template.format_map(self.joined(texts))

    def cut(self, texts: Texts, text_ids: Sequence[int], starts: Sequence[int]) -> list[int] | None:
        """The ids of a source text that is too long, without as many of the long field's last tokens as are too many.

        Of passages, the ones of lowest rank so lose their tokens first, and what the template has behind the field is kept.
        `starts` has where each token starts in the source text, in characters. None when all else leaves no room for any
        token of the field.
        """
        field_start = len(self._text_before_long_field(texts))
        places = field_start, field_start + len(self.joined(texts)[self.long_field])
        first, end = (next((index for index, start in enumerate(starts) if start >= place), len(starts)) for place in places)
        kept = end - (len(starts) + self.affixes - self.max_source_tokens)
        return None if kept <= first else [*text_ids[:kept], *text_ids[end:]]

    def _text_before_long_field(self, texts: Texts) -> str:
        before = ""
        for literal, name, _, _ in string.Formatter().parse(self.source_template):
            before += literal
            if name == self.long_field:
                break
            before += "" if name is None else self.joined(texts)[name]
        return before

    def source_ids(self, text_ids: list[int], token_id: Callable[[str], int], source_language: str | None) -> list[int]:
        """Tokenized text with its prefix and suffix; `token_id` looks up a token of the vocabulary."""
        around = [
            [token_id(_resolve(token, source_language, None)) for token in side]
            for side in (self.source_prefix, self.source_suffix)
        ]
        return around[0] + text_ids + around[1]

    def decoder_start_id(self, token_id: Callable[[str], int], target_language: str | None) -> int:
        return token_id(_resolve(self.decoder_start, None, target_language))

    def forced_bos_id(self, token_id: Callable[[str], int], target_language: str | None) -> int | None:
        return None if self.forced_bos is None else token_id(_resolve(self.forced_bos, None, target_language))

    def output_text(self, decoded: str) -> str:
        """An output as the tokenizer spells it, without special tokens, made the text that users get."""
        return (cleaned_up(decoded) if self.clean_up_tokenization_spaces else decoded).strip()

    @property
    def tokens(self) -> list[str]:
        """The tokens that must be in the vocabulary: those that surround texts, and the languages that some stand for."""
        named = [
            *self.source_prefix,
            *self.source_suffix,
            self.decoder_start,
            *([self.forced_bos] if self.forced_bos else []),
        ]
        placeholders = (SOURCE_LANGUAGE, TARGET_LANGUAGE)
        literal = [token for token in named if token not in placeholders]
        return literal + [language for language in self.languages if any(token in placeholders for token in named)]

    def speaks(self, source_language: str | None, target_language: str | None) -> bool:
        """Whether languages are a direction of the model; of a model without directions, whether they are its fixed ones."""
        if self.directions:
            return (source_language, target_language) in self.language_pairs
        return {source_language, target_language} <= {None, *self.tokens}

    @property
    def language_pairs(self) -> tuple[tuple[str, str], ...]:
        """Source and target code of each direction."""
        return tuple((source, target) for source, _, target in (each.partition(">") for each in self.directions))

    @property
    def languages(self) -> tuple[str, ...]:
        """The codes of all directions, each once; empty for models of one language."""
        return tuple(dict.fromkeys(code for pair in self.language_pairs for code in pair))

    @property
    def affixes(self) -> int:
        """Tokens that prefix and suffix add to every source."""
        return len(self.source_prefix) + len(self.source_suffix)


def template_faults(task: Task, template: str) -> list[str]:
    """What is wrong with a source template."""
    wanted = SOURCE_FIELDS[task]
    if sorted(template_fields(template)) == sorted(wanted):
        return []
    braces = " and ".join(f"{{{name}}}" for name in wanted)
    return [f"source_template is {template!r}, it must use {braces} once and no other braces"]


def separator_faults(task: Task, separator: str | None) -> list[str]:
    """What is wrong with a passage separator; None is none."""
    faults = []
    if (CONTEXT in SOURCE_FIELDS[task]) != (separator is not None):
        expected = "a text" if CONTEXT in SOURCE_FIELDS[task] else "null"
        faults.append(f"passage_separator is {separator!r}, for {task} {expected} is expected")
    if len(separator or "") > LONGEST_SEPARATOR:
        faults.append(f"passage_separator has more than {LONGEST_SEPARATOR} characters")
    return faults


def passages(text: str | tuple[str, ...]) -> tuple[str, ...]:
    """A text as the passages that it is given in."""
    return (text,) if isinstance(text, str) else text


CLEANED_UP = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")
"""What loses its spaces in a text that is cleaned up, one after the other, as in `transformers`."""


def cleaned_up(text: str) -> str:
    """A text without the spaces that tokenizers of words put before punctuation and contractions."""
    for spaced in CLEANED_UP:
        text = text.replace(spaced, spaced.strip())
    return text


def template_fields(template: str) -> list[str]:
    """What stands in braces in a template, conversions and format specifications included; empty for unpaired braces."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError:
        return []
    return [
        name + (f"!{conversion}" if conversion else "") + (f":{specification}" if specification else "")
        for _, name, specification, conversion in parts
        if name is not None
    ]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_TEXT


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) <= MOST_ENTRIES and all(map(_is_text, value))


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 < value <= LARGEST_COUNT


# What JSON holds for a field of each type.
_ENTRIES: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    "Task": ("a task", _is_text),
    "str": (f"a text of at most {LONGEST_TEXT} characters", _is_text),
    "str | None": (f"a text of at most {LONGEST_TEXT} characters or null", lambda value: value is None or _is_text(value)),
    "tuple[str, ...]": (f"a list of at most {MOST_ENTRIES} such texts", _is_list),
    "bool": ("true or false", lambda value: type(value) is bool),
    "int": (f"a whole number from 1 to {LARGEST_COUNT}", _is_count),
}


def _resolve(token: str, source_language: str | None, target_language: str | None) -> str:
    for placeholder, language in ((SOURCE_LANGUAGE, source_language), (TARGET_LANGUAGE, target_language)):
        if token == placeholder:
            if language is None:
                raise CardError(f"the model needs a language for {placeholder}")
            return language
    return token
