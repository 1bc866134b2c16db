import pytest

from compress.scoring.metrics import score, sentence_scores, zero_warning


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


@pytest.mark.parametrize(
    "text",
    [
        "Премьер-министр прибыл в Токио.",
        "Ο πρωθυπουργός έφτασε στο Τόκιο.",
        "وصل رئيس الوزراء إلى طوكيو.",
        "ראש הממשלה הגיע לטוקיו.",
        "प्रधानमंत्री टोक्यो पहुँचे।",
        "首相抵达东京。",
        "首相が東京に到着した。",
        "총리가 도쿄에 도착했다.",
        "นายกรัฐมนตรีเดินทางถึงโตเกียว",
        "ဝန်ကြီးချုပ် တိုကျိုသို့ ရောက်ရှိသည်။",
        "នាយករដ្ឋមន្ត្រីបានមកដល់តូក្យូ។",
    ],
)
def test_identical_texts_have_every_score_in_full_in_every_script(text: str) -> None:
    for task in ("summarization", "translation"):
        assert score(task, [text], [[text]]).values == pytest.approx(
            dict.fromkeys(score(task, [text], [[text]]).values, 100.0)
        )


def test_japanese_is_compared_by_its_words_and_the_signature_says_so() -> None:
    # By hand: 9 words against 8, with 8, 6, 4 and 3 n-grams in common.
    scores = score("translation", ["東京で首脳会談が開かれた。"], [["東京で会談が開かれた。"]], ["ja_XX"])
    assert scores.values["BLEU"] == pytest.approx(100 * (8 / 9 * 6 / 8 * 4 / 7 * 3 / 6) ** 0.25)
    assert "tok:ja-mecab" in scores.signatures["BLEU"]


def test_russian_words_are_not_stemmed_and_the_signature_says_so() -> None:
    scores = score("summarization", ["министр прибыл"], [["министр прибыл домой"]])
    assert scores.values["ROUGE-1"] == pytest.approx(80.0)
    assert "words of every script" in scores.signatures["ROUGE-1"]
    assert "no stemmer" in scores.signatures["ROUGE-1"]


def test_figures_of_english_keep_their_signature() -> None:
    assert score("summarization", ["a cat"], [["a cat"]]).signatures["ROUGE-L"] == (
        "rouge-score 0.1.2, stemmer, sentences split after .!?"
    )


def test_scores_of_zero_on_outputs_that_are_not_empty_are_told() -> None:
    outputs, references = ["x", ""], [["the cat sat on the mat"]] * 2
    scores = score("translation", outputs, references)
    warning = zero_warning(scores, outputs)
    assert warning is not None
    assert "BLEU, chrF of 0 although 1 of 2 outputs are not empty" in warning
    assert "tok:13a" in warning
    assert zero_warning(scores, ["", " "]) is None
    assert zero_warning(score("translation", ["the cat sat on a mat"] * 2, references), outputs) is None
