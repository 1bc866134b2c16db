from random import Random

from pipelines.augment.passages import blocks_of, cropped, sentences_of, shuffled

CONTEXT = "One is here. Two is there. Three is far. Four is near."


def test_the_sentences_of_an_answer_are_one_block() -> None:
    assert blocks_of(CONTEXT, "Two is there. Three is far.") == (
        ["One is here.", "Two is there. Three is far.", "Four is near."],
        1,
    )
    assert blocks_of(CONTEXT, "is there")[1] is None
    assert blocks_of(CONTEXT, "not in it")[1] is None


def test_shuffling_keeps_the_answer_whole_and_phrases_in_their_place() -> None:
    answer = "Two is there. Three is far."
    orders = {shuffled(CONTEXT, answer, Random(seed)) for seed in range(20)}
    assert len(orders) == 6  # of three blocks
    assert all(answer in order and sorted(sentences_of(order)) == sorted(sentences_of(CONTEXT)) for order in orders)
    assert shuffled(CONTEXT, "is there", Random(0)) == CONTEXT


def test_a_crop_holds_what_is_kept_and_as_much_around_as_fits() -> None:
    sentences = sentences_of(CONTEXT)
    assert cropped(sentences, range(1, 2), 3, Random(0)) == "Two is there."
    crops = {cropped(sentences, range(1, 2), 6, Random(seed)) for seed in range(20)}
    assert crops == {"One is here. Two is there.", "Two is there. Three is far."}
    assert cropped(sentences, range(1, 2), 100, Random(0)) == CONTEXT
