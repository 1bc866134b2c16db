from pipelines.augment.gap_sentences import gap_sentence
from pipelines.augment.words import Words

SENTENCES = ["Parsing is old.", "We parse treebanks with graphs.", "Graphs of treebanks help.", "Weather was fine."]


def test_the_sentence_that_says_most_of_the_rest_and_of_a_short_summary() -> None:
    words = Words([])
    assert gap_sentence(SENTENCES, "", words, 0) == "We parse treebanks with graphs."
    assert gap_sentence(SENTENCES, "Help of graphs", words, 0) == "Graphs of treebanks help."
    assert gap_sentence(SENTENCES, "Fine weather", words, 0) == "Weather was fine."
