import re
from random import Random

from pipelines.augment.questions import question_about
from pipelines.augment.words import Words

SENTENCES = ["Cleo Varga was born in Sopron.", "She went to sea in 1911 with two brothers.", "Her ship sank near Malta."]
COMMON = ["in to she was with her"] * 50 + ["a i it he the of and"] * 100


def test_a_question_has_words_of_its_sentence_and_of_no_other_as_many() -> None:
    words = Words([*COMMON, *(f"filler{chr(97 + at // 26)}{chr(97 + at % 26)} " * 9 for at in range(120)), *SENTENCES])
    for seed in range(50):
        question = question_about(SENTENCES[1], [SENTENCES[0], SENTENCES[2]], words, Random(seed))
        assert question is not None
        asked = {word.lower() for word in re.findall(r"\w+", question)}
        assert asked & {"went", "sea", "1911", "two", "brothers"}, question
        assert not asked & {"cleo", "varga", "sopron", "ship", "sank", "malta"}


def test_what_another_sentence_says_too_is_not_asked() -> None:
    assert question_about(SENTENCES[1], [SENTENCES[1]], Words(SENTENCES), Random(0)) is None
