"""Which languages a translation goes from and to.

A model's own codes (`de_DE`) are always accepted; the language before the underscore (`de`) is where it means one code only.
Between exactly two languages, one says the other.
"""

from __future__ import annotations

from collections.abc import Sequence

from serving.service.errors import ErrorCode, ServiceError, shown


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


def _code(languages: Sequence[str], given: str | None, field: str) -> str | None:
    if given is None or given in languages:
        return given
    alike = [code for code in languages if given.lower() in (code.lower(), code.partition("_")[0].lower())]
    if len(alike) > 1:
        raise _refused(f"{field} = {shown(given)} could be {' or '.join(alike)}", field)
    if not alike:
        raise _refused(f"{field} = {shown(given)} is unknown to the model; it has {', '.join(languages)}", field)
    return alike[0]


def _other(languages: Sequence[str], one: str | None, field: str) -> str:
    if one is None or len(languages) != 2:
        raise _refused(f"{field} is required; the model has {', '.join(languages)}", field)
    return next(code for code in languages if code != one)


def _refused(message: str, field: str) -> ServiceError:
    return ServiceError(ErrorCode.UNKNOWN_LANGUAGE, message, field)
