from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.service.errors import ErrorCode, ServiceError
from serving.service.languages import resolve_languages

CODES = ("de_DE", "en_XX", "pt_BR", "pt_PT")
Pairs = tuple[tuple[str, str], ...]
ONE: Pairs = (("de_DE", "en_XX"),)
TWO: Pairs = tuple(permutations(CODES[:2], 2))
MANY: Pairs = tuple(permutations(CODES, 2))


@pytest.mark.parametrize(
    ("pairs", "source", "target", "expected"),
    [
        (TWO, "de_DE", "en_XX", ("de_DE", "en_XX")),
        (TWO, "de", "EN", ("de_DE", "en_XX")),
        (TWO, "de_de", None, ("de_DE", "en_XX")),
        (TWO, None, "de", ("en_XX", "de_DE")),
        (MANY, "de", "pt_PT", ("de_DE", "pt_PT")),
        ((), None, None, (None, None)),
    ],
)
def test_resolved(pairs: Pairs, source: str | None, target: str | None, expected: tuple[str | None, str | None]) -> None:
    assert resolve_languages(pairs, source, target) == expected


@pytest.mark.parametrize(
    ("pairs", "source", "target", "field", "message"),
    [
        (TWO, "fr", None, "source_language", "source_language = 'fr' is unknown to the model; it has de_DE, en_XX"),
        (MANY, "de", "pt", "target_language", "target_language = 'pt' could be pt_BR or pt_PT"),
        (MANY, "de", None, "target_language", "target_language is required; the model has de_DE, en_XX, pt_BR, pt_PT"),
        (TWO, None, None, "source_language", "source_language is required; the model has de_DE, en_XX"),
        (TWO, "de", "de_DE", "target_language", "source_language and target_language are both de_DE"),
        (ONE, "en", None, "target_language", "the model does not translate en_XX to de_DE; it does de_DE to en_XX"),
        ((), None, "de", "target_language", "the model has one direction only: leave target_language out"),
    ],
)
def test_refused(pairs: Pairs, source: str | None, target: str | None, field: str, message: str) -> None:
    with pytest.raises(ServiceError) as refused:
        resolve_languages(pairs, source, target)
    assert (refused.value.code, refused.value.field, refused.value.message) == (ErrorCode.UNKNOWN_LANGUAGE, field, message)


@given(st.none() | st.text(), st.none() | st.text())
def test_whatever_is_asked_gives_two_languages_of_the_model_or_a_refusal(source: str | None, target: str | None) -> None:
    try:
        resolved = resolve_languages(MANY, source, target)
    except ServiceError:
        return
    assert resolved in MANY
