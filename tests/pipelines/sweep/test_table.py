from pipelines.sweep.results import Row
from pipelines.sweep.table import markdown

ABOUT = {
    "test": "test.jsonl",
    "metric": "BLEU",
    "speed": {"source_tokens": 32, "new_tokens": 16, "rounds": 5, "threads": 1},
}


def test_the_table_by_hand() -> None:
    teacher = Row("teacher", "6-6", "full", bytes=53_000_000, ratio=1.0, scores={"": {"BLEU": 40.04}}, share=100.0)
    teacher.tokens_per_second, teacher.timed_by = {"1": 78.4}, "transformers, float32"
    student = Row("6-3 2-2-8", "6-3", "2-2-8", bytes=2_356_000, ratio=22.5, scores={"": {"BLEU": 39.0}}, share=97.4)
    student.tokens_per_second, student.timed_by, student.steps, student.minutes = (
        {"1": 1915.0},
        "engine, native",
        3800,
        12.34,
    )
    student.cpu_minutes = 8.0
    failed = Row("a | b", "6-1", "4-4-8", {"logits_weight": 0}, error="out of\nmemory")
    assert markdown(teacher, [student, failed], ABOUT) == (
        "| model | layers | bits | settings of its own | MB | smaller | BLEU | of the teacher's | tokens/s, batch 1 | steps "
        "| minutes | CPU minutes | failed |\n"
        "| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |\n"
        "| teacher | 6-6 | full |  | 53.00 |  | 40.0 | 100.0 % | 78 |  |  |  |  |\n"
        "| 6-3 2-2-8 | 6-3 | 2-2-8 |  | 2.36 | 22.5x | 39.0 | 97.4 % | 1,915 | 3,800 | 12.3 | 8.0 |  |\n"
        "| a \\| b | 6-1 | 4-4-8 | logits_weight 0 |  |  |  |  |  |  |  |  | out of memory |\n"
        "\n"
        "Scores on test.jsonl; the teacher's share is of BLEU, mean over directions. Tokens a second: 16 tokens generated "
        "greedily for sources of 32, encoding included, 1 CPU thread, medians of 5 turns; runs on engine, native, teacher "
        "as transformers, float32.\n"
    )


def test_columns_without_figures_are_left_out() -> None:
    table = markdown(Row("teacher", "6-6", "full"), [], ABOUT)
    assert table.startswith("| model | layers | bits |\n")
