import pytest

from compress.scoring.metrics import score


def test_a_perfect_translation_scores_100() -> None:
    texts = ["the cat sat on the mat today", "a dog ran through the big garden"]
    scores = score("translation", texts, texts)
    assert scores.values == pytest.approx({"BLEU": 100.0, "chrF": 100.0})
    assert scores.selected == scores.values["BLEU"]
    assert "nrefs:1" in scores.signatures["BLEU"]


def test_bleu_is_sacrebleus_own_figure() -> None:
    import sacrebleu

    hypotheses, references = ["the cat sat on a mat"], ["the cat sat on the mat"]
    assert (
        score("translation", hypotheses, references).values["BLEU"] == sacrebleu.corpus_bleu(hypotheses, [references]).score
    )


def test_rouge_by_hand_with_stemming() -> None:
    # Stems: "cat sit" against "cat sit still": 2 of 2 and 2 of 3 unigrams match, 1 of 1 and 1 of 2 bigrams.
    values = score("summarization", ["cats sitting"], ["cat sits still"]).values
    assert values["ROUGE-1"] == pytest.approx(80.0)
    assert values["ROUGE-2"] == pytest.approx(200 / 3)


def test_rouge_lsum_looks_at_sentences_where_rouge_l_looks_at_the_whole() -> None:
    # The two sentences in the other order: a union of sentence matches finds all of them, one common sequence does not.
    values = score("question-answering", ["dogs run. cats sleep."], ["cats sleep. dogs run."]).values
    assert values["ROUGE-Lsum"] == pytest.approx(100.0)
    assert values["ROUGE-L"] == pytest.approx(50.0)
