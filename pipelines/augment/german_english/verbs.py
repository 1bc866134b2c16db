"""Forms of German and English verbs, as far as the sentences of `phrases.yaml` need them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

import yaml

Person = Literal["1s", "3s", "pl"]

_VERBS = yaml.safe_load(Path(__file__).with_name("verbs.yaml").read_text(encoding="utf-8"))
_STRONG = {verb: forms.split() for verb, forms in _VERBS["strong"].items()}
_BY_SEIN = frozenset(_VERBS["by_sein"].split())
_IRREGULAR = {verb: forms.split() for verb, forms in _VERBS["irregular"].items()}
_DOUBLED = frozenset(_VERBS["doubled"].split())
_INSEPARABLE = ("be", "ver", "er", "ent", "zer", "über", "unter", "wieder")


class German(NamedTuple):
    """A German verb, its separable prefix apart: "kaufen" with "ein"."""

    prefix: str
    bare: str
    third: str
    preterite: str
    participle: str
    by_sein: bool

    @property
    def infinitive(self) -> str:
        """The whole infinitive: "einkaufen"."""
        return self.prefix + self.bare

    def finite(self, person: Person, past: bool) -> str:
        """The finite form without its prefix, in present or preterite."""
        if past:
            weak = self.preterite.endswith("e")
            return self.preterite + ("" if person != "pl" else "n" if weak else "en")
        if person == "3s":
            return self.third
        if self.bare == "sein":
            return "bin" if person == "1s" else "sind"
        return self.bare if person == "pl" else _stem(self.bare) + "e"

    def with_zu(self) -> str:
        """The infinitive with "zu": "einzukaufen", "zu kaufen"."""
        return f"{self.prefix}zu{self.bare}" if self.prefix else f"zu {self.bare}"

    def auxiliary(self) -> German:
        """What its perfect is formed with."""
        return german("sein" if self.by_sein else "haben")


def german(verb: str) -> German:
    """The verb written as "ein·kaufen", with "+" after it where its perfect takes "sein" and the bare verb's does not."""
    prefix, _, bare = verb.rstrip("+").rpartition("·")
    if bare in _STRONG:
        third, preterite, participle = _STRONG[bare]
    else:
        stem = _stem(bare)
        soft = stem + "e" if stem.endswith(("t", "d", "chn", "ffn", "gn")) else stem
        ge = "" if bare.endswith("ieren") or bare.startswith(_INSEPARABLE) else "ge"
        third, preterite, participle = f"{soft}t", f"{soft}te", f"{ge}{soft}t"
    return German(prefix, bare, third, preterite, prefix + participle, verb.endswith("+") or bare in _BY_SEIN)


def _stem(infinitive: str) -> str:
    return infinitive[:-2] if infinitive.endswith("en") else infinitive[:-1]


class English(NamedTuple):
    """An English verb."""

    base: str
    third: str
    past: str
    participle: str

    def finite(self, person: Person, past: bool) -> str:
        """The finite form, in present or past."""
        if self.base == "be":
            return ("were" if person == "pl" else "was") if past else {"1s": "am", "3s": "is", "pl": "are"}[person]
        return self.past if past else self.third if person == "3s" else self.base

    def gerund(self) -> str:
        """The form in -ing."""
        if self.base == "lie":
            return "lying"
        if self.base in _DOUBLED:
            return self.base + self.base[-1] + "ing"
        return (self.base[:-1] if self.base.endswith("e") and self.base not in ("be", "see") else self.base) + "ing"


def english(base: str) -> English:
    """The verb of this base form."""
    soft = base.endswith("y") and base[-2] not in "aeiou"
    third = base[:-1] + "ies" if soft else base + ("es" if base.endswith(("s", "x", "ch", "sh", "o")) else "s")
    if base in _IRREGULAR:
        past, participle = _IRREGULAR[base]
    else:
        doubled = base + base[-1] if base in _DOUBLED else base
        past = participle = base[:-1] + "ied" if soft else base + "d" if base.endswith("e") else doubled + "ed"
    return English(base, {"be": "is", "have": "has"}.get(base, third), past, participle)
