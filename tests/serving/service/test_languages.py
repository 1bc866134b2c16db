from __future__ import annotations

import subprocess
import sys
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.service.errors import ErrorCode, ServiceError
from serving.service.languages import english_name, resolve_languages, short_codes

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
        (ONE, None, None, ("de_DE", "en_XX")),
        (ONE, None, "en", ("de_DE", "en_XX")),
        (MANY, "de", "pt_PT", ("de_DE", "pt_PT")),
        ((), None, None, (None, None)),
    ],
)
def test_resolved(pairs: Pairs, source: str | None, target: str | None, expected: tuple[str | None, str | None]) -> None:
    assert resolve_languages(pairs, source, target) == expected


@pytest.mark.parametrize(
    ("pairs", "source", "target", "field", "message"),
    [
        (
            TWO,
            "fr",
            None,
            "source_language",
            "source_language = 'fr' is unknown to the model; it has de_DE (German), en_XX (English)",
        ),
        (MANY, "de", "pt", "target_language", "target_language = 'pt' could be pt_BR (Portuguese) or pt_PT (Portuguese)"),
        (
            MANY,
            "de",
            None,
            "target_language",
            "target_language is required; the model has de_DE (German), en_XX (English), pt_BR (Portuguese), "
            "pt_PT (Portuguese)",
        ),
        (
            TWO,
            None,
            None,
            "source_language",
            "source_language is required; the model has de_DE (German), en_XX (English)",
        ),
        (TWO, "de", "de_DE", "target_language", "source_language and target_language are both de_DE"),
        (ONE, "en", None, "target_language", "the model does not translate en_XX to de_DE; it does de_DE to en_XX"),
        ((), None, "de", "target_language", "the model has one direction only: leave target_language out"),
    ],
)
def test_refused(pairs: Pairs, source: str | None, target: str | None, field: str, message: str) -> None:
    with pytest.raises(ServiceError) as refused:
        resolve_languages(pairs, source, target)
    assert (refused.value.code, refused.value.field, refused.value.message) == (ErrorCode.UNKNOWN_LANGUAGE, field, message)


MBART_50 = (
    *("ar_AR", "cs_CZ", "de_DE", "en_XX", "es_XX", "et_EE", "fi_FI", "fr_XX", "gu_IN", "hi_IN", "it_IT", "ja_XX", "kk_KZ"),
    *("ko_KR", "lt_LT", "lv_LV", "my_MM", "ne_NP", "nl_XX", "ro_RO", "ru_RU", "si_LK", "tr_TR", "vi_VN", "zh_CN", "af_ZA"),
    *("az_AZ", "bn_IN", "fa_IR", "he_IL", "hr_HR", "id_ID", "ka_GE", "km_KH", "mk_MK", "ml_IN", "mn_MN", "mr_IN", "pl_PL"),
    *("ps_AF", "pt_XX", "sv_SE", "sw_KE", "ta_IN", "te_IN", "th_TH", "tl_XX", "uk_UA", "ur_PK", "xh_ZA", "gl_ES", "sl_SI"),
)
TO_XHOSA: Pairs = tuple((code, "xh_ZA") for code in MBART_50 if code != "xh_ZA")


@pytest.mark.parametrize(
    ("given", "code"),
    [
        *((name, "de_DE") for name in ("deu", "ger", "German", "GERMAN", "deutsch", "allemand", "de-DE", "DE_de", "de-AT")),
        *((name, "en_XX") for name in ("eng", " English ", "en-US", "en_GB", "en-XX")),
        *((name, "zh_CN") for name in ("chi", "zho", "Chinese", "Mandarin", "zh-Hans", "Simplified Chinese", "zh-SG")),
        *((name, "pt_XX") for name in ("pt-BR", "Brazilian Portuguese", "por")),
        *((name, "fa_IR") for name in ("Persian", "Farsi", "pes", "fas")),
        *((name, "tl_XX") for name in ("Tagalog", "Filipino", "fil", "tgl")),
        *((name, "he_IL") for name in ("iw", "heb", "Hebrew")),
    ],
)
def test_languages_by_the_names_that_people_give_them(given: str, code: str) -> None:
    assert resolve_languages(TO_XHOSA, given, "Xhosa") == (code, "xh_ZA")


@pytest.mark.parametrize("given", ["zh-TW", "zh-Hant", "Traditional Chinese", "Klingon", "xx", "", "\0𐀀", "sr", "x" * 200])
def test_what_the_model_does_not_have_lists_what_it_has(given: str) -> None:
    with pytest.raises(ServiceError, match=r"is unknown to the model; it has ar_AR \(Arabic\), xh_ZA \(Xhosa\), cs_CZ"):
        resolve_languages(TO_XHOSA, given, "xh")


def test_a_region_or_a_script_chooses_between_codes_of_one_language() -> None:
    pairs = tuple((code, "en_XX") for code in ("pt_BR", "pt_PT", "zh_CN", "zh_TW", "odd"))
    for name, code in (
        *(("pt-BR", "pt_BR"), ("European Portuguese", "pt_PT")),
        *(("zh-Hant", "zh_TW"), ("zh-HK", "zh_TW"), ("Simplified Chinese", "zh_CN")),
        ("odd", "odd"),
    ):
        assert resolve_languages(pairs, name, "en") == (code, "en_XX")
    for name in ("Portuguese", "pt-AO", "por"):
        with pytest.raises(ServiceError, match=r"could be pt_BR \(Portuguese\) or pt_PT \(Portuguese\)"):
            resolve_languages(pairs, name, "en")


def test_short_codes_mean_one_language_each() -> None:
    assert short_codes(("pt_BR", "pt_PT", "en_XX")) == {"pt_BR": "pt_BR", "pt_PT": "pt_PT", "en_XX": "en"}


def test_english_names() -> None:
    names = [english_name(code) for code in MBART_50]
    assert (names[2], names[3], names[-1]) == ("German", "English", "Slovenian")
    assert all(names)
    assert [english_name(code) for code in ("odd", "qq_QQ", "<x>")] == [None, None, None]


def test_names_are_loaded_for_names_only() -> None:
    script = """
import sys
from serving.service.languages import resolve_languages
pairs = (("de_DE", "en_XX"), ("en_XX", "de_DE"))
for source, target in (("de_DE", "en_XX"), ("de", "EN"), ("de-de", None)):
    resolve_languages(pairs, source, target)
assert "langcodes" not in sys.modules
resolve_languages(pairs, "German", None)
assert "langcodes" in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[3], check=True)


@given(st.none() | st.text(), st.none() | st.text())
def test_whatever_is_asked_gives_two_languages_of_the_model_or_a_refusal(source: str | None, target: str | None) -> None:
    try:
        resolved = resolve_languages(MANY, source, target)
    except ServiceError:
        return
    assert resolved in MANY
