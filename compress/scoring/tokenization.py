"""How texts are cut into the tokens that BLEU and ROUGE count.

What fits depends on how a language is written: the published tools cut at spaces and ASCII punctuation, and find nothing to
compare where there is neither. The script decides: that of the target language, or where no language is known, the one that
most letters of the references are in.

| script | BLEU, sacreBLEU's | ROUGE |
| --- | --- | --- |
| Latin | 13a | English: rouge-score's own words, stemmed; else words of every script |
| Cyrillic, Greek | 13a | words of every script |
| Chinese | zh | characters |
| Japanese | ja-mecab | characters |
| Korean | ko-mecab | words of every script |
| written without spaces, Thai and Burmese among them | char | characters |
| all others | intl, as their punctuation is not ASCII's | words of every script |

What it gave up: flores200 would find words in Thai or Khmer, but its model is a download. English is told from other
languages of the Latin script, where no language is given, by having nearly no letters beyond ASCII; Dutch passes for it.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import langcodes
import regex
from langcodes.tag_parser import LanguageTagError

_BLEU = {
    **dict.fromkeys(("Latn", "Cyrl", "Grek"), "13a"),
    **dict.fromkeys(("Hans", "Hant", "Hani"), "zh"),
    **dict.fromkeys(("Jpan", "Hira", "Kana"), "ja-mecab"),
    **dict.fromkeys(("Kore", "Hang"), "ko-mecab"),
    **dict.fromkeys(("Thai", "Laoo", "Khmr", "Mymr", "Tale", "Talu", "Lana", "Tavt"), "char"),
}
"""ISO 15924 script → sacreBLEU's tokenizer."""
_OTHER_SCRIPT = "intl"

_WITHOUT_SPACES = {
    "Han": "Hani",
    "Hiragana": "Jpan",
    "Katakana": "Jpan",
    "Bopomofo": "Hani",
    "Thai": "Thai",
    "Lao": "Laoo",
    "Khmer": "Khmr",
    "Myanmar": "Mymr",
    "Tai_Le": "Tale",
    "New_Tai_Lue": "Talu",
    "Tai_Tham": "Lana",
    "Tai_Viet": "Tavt",
}
"""Unicode's scripts, and the code of ISO 15924 that stands for how their languages are written."""
_WITH_SPACES = {"Latin": "Latn", "Cyrillic": "Cyrl", "Greek": "Grek", "Hangul": "Kore"}
_SCRIPTS = [(regex.compile(rf"\p{{Script={name}}}"), code) for name, code in {**_WITH_SPACES, **_WITHOUT_SPACES}.items()]
_LEAST_KANA = 0.05
"""Share of the letters of Japanese that are no Chinese characters, at the very least; in running text it is about half."""
_MOST_BEYOND_ASCII = 0.005
"""Share of letters in English: names and loanwords. German and French have several times as many."""

_NO_SPACES = "".join(rf"\p{{Script={name}}}" for name in _WITHOUT_SPACES)
_WORD = regex.compile(rf"[{_NO_SPACES}]\p{{M}}*|[\p{{L}}\p{{M}}\p{{N}}--[{_NO_SPACES}]]+", regex.VERSION1)
_FORMAT = regex.compile(r"\p{Cf}+")
_ASCII_SENTENCE_END = regex.compile(r"(?<=[.!?])\s+")
_SENTENCE_END = regex.compile(r"(?<=[.!?])\s+|(?<=[。！？｡।॥؟۔။។៕։።])\s*")


@dataclass(frozen=True)
class Tokenization:
    """How one language is cut."""

    bleu: str
    """sacreBLEU's name of a tokenizer."""
    english: bool
    """Whether ROUGE has the words of rouge-score with Porter's stemmer, or those of every script."""

    def tokenize(self, text: str) -> list[str]:
        """What ROUGE counts; the interface of rouge-score's tokenizers."""
        tokenize: Callable[[str], list[str]] = _english_words() if self.english else words
        return tokenize(text)

    def sentences(self, text: str) -> list[str]:
        found: list[str] = (_ASCII_SENTENCE_END if self.english else _SENTENCE_END).split(text)
        return found

    @property
    def rouge_signature(self) -> str:
        if self.english:
            return "stemmer, sentences split after .!?"
        return "words of every script (characters where it has no spaces), no stemmer, sentences split after .!?。！？।؟။។"


ENGLISH = Tokenization("13a", english=True)


def tokenizations(references: Sequence[Sequence[str]], languages: Sequence[str | None] | None = None) -> list[Tokenization]:
    """One for each example: by its target language, or where that is unknown, by all references of such examples."""
    known = [tokenization_of(language) for language in languages or [None] * len(references)]
    unknown = [texts for texts, each in zip(references, known, strict=True) if each is None]
    guess = guessed(text for texts in unknown for text in texts) if unknown else ENGLISH
    return [each or guess for each in known]


@lru_cache
def tokenization_of(language: str | None) -> Tokenization | None:
    """By a language code of any kind (`ja`, `ja_XX`, `jpn_Jpan`); None for one that names no language."""
    try:
        tag = langcodes.Language.get(language or "")
    except LanguageTagError:
        return None
    if tag.language is None or not langcodes.Language.make(language=tag.language).is_valid():
        return None
    return Tokenization(_BLEU.get(tag.maximize().script or "", _OTHER_SCRIPT), english=tag.language == "en")


def guessed(references: Iterable[str]) -> Tokenization:
    """By the script that most letters are in; English where there are none, whose words include numbers."""
    letters: Counter[str] = Counter()
    beyond_ascii = 0
    for character, count in Counter("".join(references)).items():
        if character.isalpha():
            script = next((script for pattern, script in _SCRIPTS if pattern.match(character)), "other")
            letters[script] += count
            beyond_ascii += count * (script == "Latn" and not character.isascii())
    kana, chinese = letters["Jpan"], letters["Hani"]
    written = "Jpan" if kana > _LEAST_KANA * (kana + chinese) else "Hani"
    letters |= {"Jpan": 0, "Hani": 0, written: kana + chinese}
    script = max(letters, key=lambda each: letters[each]) if letters.total() else "Latn"
    english = script == "Latn" and beyond_ascii <= _MOST_BEYOND_ASCII * letters["Latn"]
    return Tokenization(_BLEU.get(script, _OTHER_SCRIPT), english)


def words(text: str) -> list[str]:
    """Runs of letters, marks and digits, of whatever script; single characters, with their marks, where it has no spaces.

    Letters are compared as NFKC without case, and without what only says how they are joined.
    """
    found: list[str] = _WORD.findall(unicodedata.normalize("NFKC", _FORMAT.sub("", text)).casefold())
    return found


@lru_cache(maxsize=1)
def _english_words() -> Callable[[str], list[str]]:
    from rouge_score.tokenizers import DefaultTokenizer

    tokenize: Callable[[str], list[str]] = DefaultTokenizer(use_stemmer=True).tokenize
    return tokenize
