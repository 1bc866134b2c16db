from pathlib import Path

import pytest

from pipelines.sweep.results import Row, compared, scored, sized, teacher_row

SIGNATURE = {"BLEU": "nrefs:1"}


def result(*scores: float, signature: str = "nrefs:1") -> dict:
    languages = ("de", "en"), ("en", "de")
    evaluations = [
        {
            "source_language": source,
            "target_language": target,
            "scores": {"BLEU": score, "chrF": 2 * score},
            "signatures": {"BLEU": signature},
        }
        for score, (source, target) in zip(scores, languages, strict=False)
    ]
    return {"evaluations": evaluations, "steps": 5, "minutes": 0.1, "cpu_minutes": 0.2}


def test_the_score_is_the_mean_over_directions() -> None:
    row = scored(Row("a", "6-3", "2-2-8"), result(20, 40), "BLEU")
    assert row.scores == {"de → en": {"BLEU": 20, "chrF": 40}, "en → de": {"BLEU": 40, "chrF": 80}}
    assert (row.score, row.steps, row.minutes, row.cpu_minutes, row.error) == (30, 5, 0.1, 0.2, None)
    assert scored(Row("a", "6-3", "2-2-8"), result(20, 40), "chrF").score == 60


def test_a_metric_that_is_not_there_is_named() -> None:
    row = scored(Row("a", "6-3", "2-2-8"), result(20), "TER")
    assert row.score is None
    assert row.error == "metric = 'TER': the scores are BLEU, chrF"


def test_rows_get_their_share_of_the_teachers_score_and_their_speed() -> None:
    teacher, row = Row("teacher", "6-6", "full"), Row("a", "6-3", "2-2-8")
    scored(teacher, result(40), "BLEU")
    scored(row, result(30), "BLEU")
    compared([row], teacher, {"a": {"by": "engine", "tokens_per_second": {"1": 7.0}}})
    assert (teacher.share, row.share) == (100, 75)
    assert (row.tokens_per_second, row.timed_by, teacher.tokens_per_second) == ({"1": 7.0}, "engine", {})


def test_scores_of_another_signature_are_not_compared() -> None:
    teacher, row = Row("teacher", "6-6", "full"), Row("a", "6-3", "2-2-8")
    scored(teacher, result(40), "BLEU")
    scored(row, result(30, signature="nrefs:var"), "BLEU")
    compared([row], teacher, {})
    assert row.share is None
    assert "not comparable" in str(row.error)


def test_a_checkpoint_counts_as_its_weights_in_float32(teachers) -> None:
    from transformers import AutoModelForSeq2SeqLM

    model = AutoModelForSeq2SeqLM.from_pretrained(teachers["bart"])
    row = sized(Row("full", "3-3", "full"), Path(teachers["bart"]), 1000)
    assert row.bytes == 4 * sum(parameter.numel() for parameter in model.parameters())
    assert row.ratio == pytest.approx(1000 / row.bytes)


def test_the_row_of_a_teacher_of_either_kind(teachers) -> None:
    row, in_float = teacher_row(teachers["bart"])
    assert (row.layers, row.bits, row.bytes, row.ratio) == ("3-3", "full", in_float, 1.0)
    packed = Path(__file__).parents[3] / "models" / "mbart-de-en-2-4-8"
    row, in_float = teacher_row(str(packed))
    assert (row.layers, row.bits) == ("6-3", "2-4-8")
    assert row.bytes == (packed / "model.safetensors").stat().st_size
    assert row.ratio == in_float / row.bytes > 13
