import pytest

from compress.scoring.metrics import score, sentence_scores


def test_a_perfect_translation_scores_100() -> None:
    texts = ["the cat sat on the mat today", "a dog ran through the big garden"]
    scores = score("translation", texts, [[text] for text in texts])
    assert scores.values == pytest.approx({"BLEU": 100.0, "chrF": 100.0})
    assert scores.selected == scores.values["BLEU"]
    assert "nrefs:1" in scores.signatures["BLEU"]


def test_bleu_is_sacrebleus_own_figure() -> None:
    import sacrebleu

    hypotheses, references = ["the cat sat on a mat"], ["the cat sat on the mat"]
    given = score("translation", hypotheses, [references]).values["BLEU"]
    assert given == sacrebleu.corpus_bleu(hypotheses, [references]).score


def test_several_references_are_taken_as_sacrebleu_takes_them() -> None:
    import sacrebleu

    hypotheses = ["the cat sat on a mat", "a dog ran through the garden"]
    references = [["the cat sat on the mat", "a cat sat on a mat"], ["a dog ran through the big garden"]]
    scores = score("translation", hypotheses, references)
    streams = [[references[0][0], references[1][0]], [references[0][1], None]]
    assert scores.values["BLEU"] == sacrebleu.corpus_bleu(hypotheses, streams).score
    assert scores.values["chrF"] == sacrebleu.corpus_chrf(hypotheses, streams).score
    assert "nrefs:var" in scores.signatures["BLEU"]


def test_rouge_by_hand_with_stemming() -> None:
    # Stems: "cat sit" against "cat sit still": 2 of 2 and 2 of 3 unigrams match, 1 of 1 and 1 of 2 bigrams.
    values = score("summarization", ["cats sitting"], [["cat sits still"]]).values
    assert values["ROUGE-1"] == pytest.approx(80.0)
    assert values["ROUGE-2"] == pytest.approx(200 / 3)


def test_rouge_lsum_looks_at_sentences_where_rouge_l_looks_at_the_whole() -> None:
    # The two sentences in the other order: a union of sentence matches finds all of them, one common sequence does not.
    values = score("question-answering", ["dogs run. cats sleep."], [["cats sleep. dogs run."]]).values
    assert values["ROUGE-Lsum"] == pytest.approx(100.0)
    assert values["ROUGE-L"] == pytest.approx(50.0)


def test_each_rouge_is_the_best_over_the_references() -> None:
    # The first reference shares both words in the other order, the second one bigram of four words.
    scores = score("summarization", ["cats sleep"], [["sleep cats", "cats sleep so well"]])
    assert scores.values["ROUGE-1"] == pytest.approx(100.0)
    assert scores.values["ROUGE-2"] == pytest.approx(50.0)
    assert "best of the references" in scores.signatures["ROUGE-1"]


def test_a_sentence_has_the_score_of_a_corpus_of_one() -> None:
    hypotheses, references = ["the cat sat on a mat", "no"], [["the cat sat on the mat"], ["yes"]]
    for task, name in (("translation", "chrF"), ("summarization", "ROUGE-Lsum")):
        alone = [score(task, hypotheses[i : i + 1], references[i : i + 1]).values[name] for i in (0, 1)]
        assert sentence_scores(task, hypotheses, references) == pytest.approx(alone)
