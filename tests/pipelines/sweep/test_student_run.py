from pipelines.sweep.student_run import evaluations, flags

SETTINGS = {
    "source_language": "de_DE",
    "target_language": "en_XX",
    "both_directions": True,
    "num_beams": 4,
    "learning_rate": 1e-3,
}


def test_a_student_of_both_directions_is_scored_in_both() -> None:
    forward, backward = evaluations("translation", SETTINGS, {"num_beams": 2}, "test.jsonl", ["source", "target"])
    assert forward == {
        "source_language": "de_DE",
        "target_language": "en_XX",
        "num_beams": 2,
        "task": "translation",
        "data": "test.jsonl",
    }
    assert backward == {
        **forward,
        "source_language": "en_XX",
        "target_language": "de_DE",
        "source_field": "target",
        "target_field": "source",
    }


def test_a_column_of_both_languages_is_not_swapped() -> None:
    _, backward = evaluations("translation", SETTINGS, {}, "test.jsonl", ["translation"])
    assert "source_field" not in backward
    assert backward["source_language"] == "en_XX"


def test_other_models_are_scored_once() -> None:
    (only,) = evaluations("summarization", {"max_source_tokens": 9}, {}, "test.jsonl", ["source", "target"])
    assert only == {"max_source_tokens": 9, "task": "summarization", "data": "test.jsonl"}


def test_settings_as_flags() -> None:
    settings = {"train": ["a", "b"], "both_directions": True, "resume": False, "limit": None, "learning_rate": 1e-3}
    assert flags(settings) == ["--train=a", "--train=b", "--both-directions", "--no-resume", "--learning-rate=0.001"]
