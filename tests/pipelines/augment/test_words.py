import re
from random import Random

from pipelines.augment.words import Words, with_made_up_words

TEXTS = ["the cat saw the Zanzibar ferry", "the cat of Zanzibar", "the ferry was late"]


def test_common_words_are_those_that_occur_most() -> None:
    words = Words(TEXTS)
    assert words.common("The", 1)
    assert not words.common("cat", 1)
    assert words.common("cat", 2)  # as often as ferry and zanzibar, and first by the alphabet
    assert not words.common("unheard", 1000)


def test_function_words_are_no_content_and_few_of_a_small_corpus() -> None:
    texts = [
        "the of the of",
        "one two three four five six seven eight nine ten",
        "eleven twelve thirteen fourteen fifteen sixteen",
    ]
    words = Words([*texts, "seventeen eighteen"])
    assert words.content("The end of nine", 2) == {"end", "nine"}
    assert words.content("The end of nine", 20) == {"end", "nine"}


def test_a_word_is_the_same_one_in_all_texts_and_keeps_its_case() -> None:
    words = Words(TEXTS)
    texts = ["Who saw ZANZIBAR in 1911?", "Zanzibar, 1911: the cat saw zanzibar."]
    question, context = with_made_up_words(texts, texts[1], words, 2, 1.0, Random(3))
    assert "zanzibar" not in (question + context).lower()
    (upper,) = re.findall(r"\b[A-Z]{3,}\b", question)
    (year,) = re.findall(r"\d+", question)
    assert re.fullmatch(r"1\d{3}", year)
    assert year != "1911"
    assert context.startswith(f"{upper.capitalize()}, {year}: the cat ")
    assert context.endswith(f"{upper.lower()}.")


def test_no_share_leaves_texts_alone_and_the_same_draws_give_the_same_words() -> None:
    words = Words(TEXTS)
    assert with_made_up_words(TEXTS, " ".join(TEXTS), words, 0, 0.0, Random(1)) == TEXTS
    assert with_made_up_words(TEXTS, " ".join(TEXTS), words, 0, 1.0, Random(1)) == with_made_up_words(
        TEXTS, " ".join(TEXTS), words, 0, 1.0, Random(1)
    )


def test_words_are_made_up_of_a_corpus_without_long_ones() -> None:
    assert with_made_up_words(["cat"], "cat", Words(["a b"]), 0, 1.0, Random(0)) != ["cat"]


def test_what_the_source_does_not_say_stays() -> None:
    _, target = with_made_up_words(["a ferry", "a ferry sails"], "a ferry", Words(TEXTS), 0, 1.0, Random(0))
    assert re.fullmatch(r"a (?!ferry)\w+ sails", target)
