import pytest

from compress.data.text_format import Example
from compress.scoring.comparison import compare

EXAMPLES = [
    Example({"source": "eins"}, "the cat sat on the mat"),
    Example({"source": "zwei"}, "a dog ran away"),
    Example({"source": "drei"}, "it rains", more_references=("it is raining",)),
    Example({"source": "vier"}, "yes"),
]


def test_what_changed_most_comes_first_whichever_way() -> None:
    teacher = ["the cat sat on the mat", "a dog ran", "nothing alike", "yes"]
    student = ["the cat sat on the rug", "a dog ran away", "it is raining", "yes"]
    comparison = compare("summarization", EXAMPLES, teacher, student, 100)
    assert [change.example.texts["source"] for change in comparison.changes] == ["drei", "eins", "zwei"]
    # By hand: 5 of 6 words are left of "eins"; "zwei" had 3 of 3 and 3 of 4.
    assert [change.difference for change in comparison.changes] == pytest.approx([100, 100 * (5 / 6 - 1), 100 / 7])


def test_a_change_says_all_that_is_known_of_it() -> None:
    outputs = ["x"] * 2, ["it is raining", "x"]
    (change,) = compare("summarization", EXAMPLES[2:], *outputs, 100).changes
    assert change.record() == {
        "source": "drei",
        "references": ["it rains", "it is raining"],
        "teacher_output": "x",
        "student_output": "it is raining",
        "teacher_score": 0,
        "student_score": 100,
    }


def test_translations_are_told_apart_by_chrf() -> None:
    comparison = compare("translation", EXAMPLES[:2], ["the cat", "a dog"], ["the mat", "a dog"], 100)
    assert comparison.sentence_score == "chrF"
    assert set(comparison.differences) == {"BLEU", "chrF"}
    assert len(comparison.changes) == 1
