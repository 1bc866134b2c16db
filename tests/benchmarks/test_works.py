from benchmarks.works import TARGETS, Work


def test_names_are_those_of_the_table() -> None:
    assert str(Work(1, 128, 1)) == "batch 1, source 128, greedy"
    assert str(Work(8, 128, 4)) == "batch 8, source 128, beams 4"


def test_sources_are_of_the_vocabulary_and_the_same_for_every_contestant() -> None:
    for work in TARGETS:
        sources = work.sources(50)
        assert [len(source) for source in sources] == [work.source_tokens] * work.batch
        assert all(10 <= token < 50 for source in sources for token in source)
        assert sources == work.sources(50)
