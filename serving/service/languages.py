"""Which languages a translation goes from and to, by the names that people give them.

A model's own codes (`de_DE`) are always accepted, and the language before the underscore (`de`) where it means one code
only. Anything else is looked up: other codes (`deu`, `ger`), names in most languages (`German`, `Deutsch`), another region
of the same language (`de-AT`). A region or a script chooses between codes of one language (`pt-BR`), and a script that the
model does not write is refused (`zh-TW` where there is `zh_CN`). Between exactly two languages, one says the other, and a
single direction needs none.

Names are known to `langcodes`, which is loaded when the first one is looked up. It never forgets what it has parsed, so that
it is given language codes and names only, of which there is an end, and not all that a client can write.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from serving.service.errors import ErrorCode, ServiceError, shown

TAG = re.compile(r"([a-z]{2,3})(?:[-_]([a-z]{4}))?(?:[-_]([a-z]{2}|[0-9]{3}))?", re.IGNORECASE | re.ASCII)
"""Language, script, region."""


@dataclass(frozen=True)
class _Meaning:
    """What a code or a name says: ISO 639 code, ISO 15924 script, ISO 3166 region."""

    language: str
    script: str | None
    region: str | None


def resolve_languages(
    pairs: Sequence[tuple[str, str]], source: str | None, target: str | None
) -> tuple[str | None, str | None]:
    """Source and target codes out of the pairs that a model translates; both None for a model without languages.

    Raises ServiceError (unknown_language) for a language that is unknown, ambiguous or missing, and for a pair that the
    model does not translate.
    """
    languages = tuple(dict.fromkeys(code for pair in pairs for code in pair))
    if not languages:
        for field, given in (("source_language", source), ("target_language", target)):
            if given is not None:
                raise _refused(f"the model has one direction only: leave {field} out", field)
        return None, None
    if source is target is None and len(pairs) == 1:
        return pairs[0]
    found_source = _code(languages, source, "source_language")
    found_target = _code(languages, target, "target_language")
    found_source = found_source or _other(languages, found_target, "source_language")
    found_target = found_target or _other(languages, found_source, "target_language")
    if found_source == found_target:
        raise _refused(f"source_language and target_language are both {found_source}", "target_language")
    if (found_source, found_target) not in pairs:
        known = ", ".join(f"{one} to {other}" for one, other in pairs)
        raise _refused(f"the model does not translate {found_source} to {found_target}; it does {known}", "target_language")
    return found_source, found_target


def english_name(code: str) -> str | None:
    """The English name of a model's code; None for one that is no language's."""
    import langcodes

    meaning = _meaning(code)
    if meaning is None or not langcodes.tag_is_valid(meaning.language):
        return None
    return langcodes.get(meaning.language).display_name()


@lru_cache(maxsize=1000)
def script_of(code: str) -> str | None:
    """ISO 15924 code of the script that a model's code is written in; None for one that is no language's."""
    meaning = _meaning(code)
    return None if meaning is None else _script(meaning)


def short_codes(codes: Sequence[str]) -> dict[str, str]:
    """Each of a model's codes and the shortest that means it: `de` for `de_DE` where no other begins so."""
    prefixes = [_prefix(code) for code in codes]
    return {code: prefix if prefixes.count(prefix) == 1 else code for code, prefix in zip(codes, prefixes, strict=True)}


def _code(languages: Sequence[str], given: str | None, field: str) -> str | None:
    if given is None or given in languages:
        return given
    spelled = given.strip().lower().replace("-", "_")
    alike = [code for code in languages if spelled == code.lower()]
    alike = alike or [code for code in languages if spelled == _prefix(code)]
    alike = alike or _meant(languages, given.strip())
    if len(alike) > 1:
        raise _refused(f"{field} = {shown(given)} could be {_listed(alike, ' or ')}", field)
    if not alike:
        raise _refused(f"{field} = {shown(given)} is unknown to the model; it has {_listed(languages)}", field)
    return alike[0]


def _prefix(code: str) -> str:
    return code.partition("_")[0].lower()


def _meant(languages: Sequence[str], given: str) -> list[str]:
    """The model's codes that a code or a name may mean."""
    wanted = _meaning(given)
    if wanted is None:
        return []
    known = {code: meaning for code in languages if (meaning := _meaning(code)) and meaning.language == wanted.language}
    if wanted.script or wanted.region:
        script = _script(wanted) if known else None
        known = {code: meaning for code, meaning in known.items() if _script(meaning) == script}
    regional = [code for code, meaning in known.items() if wanted.region and meaning.region == wanted.region]
    return regional or list(known)


def _meaning(given: str) -> _Meaning | None:
    """What a code or a name says; None for a name that nobody knows."""
    import langcodes

    # The table of names cannot be asked for a NUL.
    if not given.isprintable():
        return None
    try:
        if tag := TAG.fullmatch(given):
            language, script, region = tag.groups()
        else:
            found = langcodes.find(given)
            language, script, region = found.language, found.script, found.territory
        language = langcodes.standardize_tag(language, macro=True)
    except (LookupError, ValueError):
        return None
    return _Meaning(language, script and script.title(), region and region.upper())


def _script(meaning: _Meaning) -> str | None:
    """The script that is said, or the one that the language is written in there."""
    import langcodes

    likely: str | None = langcodes.Language.make(meaning.language, territory=meaning.region).maximize().script
    return meaning.script or likely


def _other(languages: Sequence[str], one: str | None, field: str) -> str:
    if one is None or len(languages) != 2:
        raise _refused(f"{field} is required; the model has {_listed(languages)}", field)
    return next(code for code in languages if code != one)


def _listed(codes: Iterable[str], between: str = ", ") -> str:
    return between.join(f"{code} ({name})" if (name := english_name(code)) else code for code in codes)


def _refused(message: str, field: str) -> ServiceError:
    return ServiceError(ErrorCode.UNKNOWN_LANGUAGE, message, field)
