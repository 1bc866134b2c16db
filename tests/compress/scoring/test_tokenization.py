import pytest

from compress.scoring.tokenization import ENGLISH, Tokenization, guessed, tokenization_of, tokenizations


@pytest.mark.parametrize(
    ("codes", "bleu"),
    [
        (("de_DE", "fr", "sr_Latn", "ru_RU", "mn_MN", "el"), "13a"),
        (("zh_CN", "zho_Hans", "yue"), "zh"),
        (("ja_XX", "jpn_Jpan"), "ja-mecab"),
        (("ko_KR", "kor"), "ko-mecab"),
        (("th_TH", "my_MM", "km_KH", "lo"), "char"),
        (("hi_IN", "ar_AR", "am", "bo"), "intl"),
    ],
)
def test_the_script_of_the_target_language_decides(codes: tuple[str, ...], bleu: str) -> None:
    assert [tokenization_of(code) for code in codes] == [Tokenization(bleu, english=False)] * len(codes)


def test_english_alone_is_stemmed() -> None:
    assert {tokenization_of(code) for code in ("en", "en_XX", "en-GB", "eng_Latn")} == {ENGLISH}


@pytest.mark.parametrize("code", [None, "", "xx_XX", "__de__", "de>en", "formal"])
def test_what_names_no_language_decides_nothing(code: str | None) -> None:
    assert tokenization_of(code) is None


@pytest.mark.parametrize(
    ("text", "bleu", "words"),
    [
        ("Премьер-министр прибыл.", "13a", ["премьер", "министр", "прибыл"]),
        ("Grüße aus Köln 007", "13a", ["grüsse", "aus", "köln", "007"]),
        ("東京で会談。", "ja-mecab", ["東", "京", "で", "会", "談"]),
        ("东京。2024年", "zh", ["东", "京", "2024", "年"]),
        ("도쿄에서 열렸다.", "ko-mecab", ["도쿄에서", "열렸다"]),
        ("ที่ไป", "char", ["ที่", "ไ", "ป"]),
        ("हिन्दी में।", "intl", ["हिन्दी", "में"]),
        ("می‌خواهم برویم؟", "intl", ["میخواهم", "برویم"]),
    ],
)
def test_unknown_languages_are_told_by_their_script(text: str, bleu: str, words: list[str]) -> None:
    tokenization = guessed([text])
    assert tokenization == Tokenization(bleu, english=False)
    assert tokenization.tokenize(text) == words


def test_english_is_told_by_its_letters_and_has_the_published_words() -> None:
    texts = ["Two cats were sitting on the mats at the café of the naïve owner. " + "They slept there all day long. " * 20]
    assert guessed(texts) == ENGLISH
    assert ENGLISH.tokenize("Cats' café: sitting") == ["cat", "caf", "sit"]
    assert guessed(["Schöne Grüße aus München"]) != ENGLISH
    assert guessed(["12.5"]) == ENGLISH


def test_chinese_characters_with_a_few_kana_are_chinese_and_with_many_japanese() -> None:
    assert guessed(["首脑会谈在东京举行" * 5 + "の"]).bleu == "zh"
    assert guessed(["首脳会談、東京", "首脳会談が東京で開かれた"]).bleu == "ja-mecab"


def test_unknown_languages_are_decided_together_and_known_ones_alone() -> None:
    references = [["東京"], ["東京で開かれた"], ["guten Tag"]]
    assert [each.bleu for each in tokenizations(references, [None, None, "de_DE"])] == ["ja-mecab", "ja-mecab", "13a"]
    assert [each.bleu for each in tokenizations(references)] == ["ja-mecab"] * 3


def test_letters_are_alike_however_they_are_encoded() -> None:
    russian = Tokenization("13a", english=False)
    assert russian.tokenize("Cafe\u0301 ＮＡＳＡ soft\u00adhyphen") == ["café", "nasa", "softhyphen"]


def test_sentences_end_where_their_script_ends_them() -> None:
    assert [each for each in guessed(["開く。"]).sentences("開いた。閉じた！") if each] == ["開いた。", "閉じた！"]
    assert [each for each in guessed(["है।"]).sentences("वह है। वह था।") if each] == ["वह है।", "वह था।"]
    assert ENGLISH.sentences("One. Two? 3.5") == ["One.", "Two?", "3.5"]
