import numpy as np
import pytest

from compress.scoring.metrics import score
from compress.scoring.significance import score_differences

REFERENCES = [["the cat sat on the mat today"], ["a dog ran through the big garden"], ["it is raining in the old town"]] * 8
PERFECT = [each[0] for each in REFERENCES]
WORSE = [text.rsplit(" ", 2)[0] + " yes" for text in PERFECT]


@pytest.mark.parametrize("task", ["translation", "summarization"])
def test_the_scores_are_the_evaluations_own(task) -> None:
    differences = score_differences(task, PERFECT, WORSE, REFERENCES, 100)
    assert {name: each.baseline for name, each in differences.items()} == pytest.approx(
        score(task, PERFECT, REFERENCES).values
    )
    assert {name: each.system for name, each in differences.items()} == pytest.approx(score(task, WORSE, REFERENCES).values)


@pytest.mark.parametrize("task", ["translation", "question-answering"])
def test_a_model_that_is_worse_everywhere_is_surely_worse(task) -> None:
    for each in score_differences(task, PERFECT, WORSE, REFERENCES, 200).values():
        assert each.low - 1e-9 <= each.difference <= each.high + 1e-9
        assert each.high < 0
        assert each.p_value < 0.05


@pytest.mark.parametrize("task", ["translation", "summarization"])
def test_a_model_does_not_differ_from_itself(task) -> None:
    for each in score_differences(task, WORSE, WORSE, REFERENCES, 100).values():
        assert (each.difference, each.low, each.high, each.p_value) == (0, 0, 0, 1)


def test_one_better_and_one_worse_output_prove_nothing() -> None:
    mixed = [*PERFECT[:12], *WORSE[12:]], [*WORSE[:12], *PERFECT[12:]]
    for each in score_differences("summarization", *mixed, REFERENCES, 500).values():
        assert each.low < 0 < each.high
        assert each.p_value > 0.2


def test_the_interval_of_a_mean_by_hand() -> None:
    # Differences of 0 or 100 with equal chance: the mean of 2 draws is 0, 50 or 100, and 95 % reach from end to end.
    each = score_differences("summarization", ["no", "no"], ["no", "cat"], [["cat"], ["cat"]], 400)["ROUGE-1"]
    assert (each.baseline, each.system, each.low, each.high) == pytest.approx((0, 50, 0, 100))


def test_it_repeats_to_the_digit_whatever_was_drawn_before() -> None:
    first = score_differences("translation", PERFECT, WORSE, REFERENCES, 100)
    np.random.default_rng().random()
    assert score_differences("translation", PERFECT, WORSE, REFERENCES, 100) == first


def test_languages_are_cut_as_in_the_scores() -> None:
    references = [["東京で会談が開かれた。"], ["the cat sat on the mat today"]] * 4
    before, after = ["東京で首脳会談が開かれた。", "the cat sat on a mat"] * 4, [each[0] for each in references]
    languages = ["ja_XX", "en_XX"] * 4
    differences = score_differences("translation", before, after, references, 100, languages)
    assert differences["BLEU"].baseline == pytest.approx(score("translation", before, references, languages).values["BLEU"])
    assert differences["BLEU"].system == pytest.approx(100.0)
    assert differences["BLEU"].low > 0
