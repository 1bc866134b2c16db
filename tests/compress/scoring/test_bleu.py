import pytest
import sacrebleu

from compress.scoring.bleu import bleu
from compress.scoring.tokenization import Tokenization

ENGLISH, JAPANESE = Tokenization("13a", english=True), Tokenization("ja-mecab", english=False)
JAPANESE_PAIR = ("東京で首脳会談が開かれた。", "東京で会談が開かれた。")
ENGLISH_PAIR = ("the cat sat on a mat", "the cat sat on the mat")


def test_one_language_has_sacrebleus_own_metric_and_signature() -> None:
    metric = bleu([ENGLISH] * 2)
    assert metric.corpus_score([ENGLISH_PAIR[0]] * 2, [[ENGLISH_PAIR[1]] * 2]).score == (
        sacrebleu.corpus_bleu([ENGLISH_PAIR[0]] * 2, [[ENGLISH_PAIR[1]] * 2]).score
    )
    assert str(metric.get_signature()) == "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0"


def test_several_languages_are_counted_together_each_cut_its_own_way() -> None:
    hypotheses, references = zip(ENGLISH_PAIR, JAPANESE_PAIR, strict=True)
    metric = bleu([ENGLISH, JAPANESE])
    score = metric.corpus_score(hypotheses, [list(references)])
    parts = [
        bleu([each]).corpus_score([hypothesis], [[reference]])
        for each, hypothesis, reference in zip((ENGLISH, JAPANESE), hypotheses, references, strict=True)
    ]
    assert score.counts == [sum(counts) for counts in zip(*(part.counts for part in parts), strict=True)]
    assert score.totals == [sum(totals) for totals in zip(*(part.totals for part in parts), strict=True)]
    assert "tok:13a+ja-mecab" in str(metric.get_signature())


def test_examples_without_a_second_reference_are_taken_among_several_languages() -> None:
    metric = bleu([ENGLISH, JAPANESE])
    streams = [[ENGLISH_PAIR[1], JAPANESE_PAIR[1]], [ENGLISH_PAIR[0], None]]
    score = metric.corpus_score([ENGLISH_PAIR[0], JAPANESE_PAIR[1]], streams)
    assert score.score == pytest.approx(100.0)
