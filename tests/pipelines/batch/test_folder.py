from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.batch.errors import BatchError
from pipelines.batch.folder import BAD_ROWS, Folder
from pipelines.batch.parts import Part

PARTS = [Part(number, 0, number, number + 1, number, 1) for number in range(3)]
MADE_WITH = {"model": "sha256:1", "input": [{"file": "in.jsonl"}], "num_beams": 2}


def folder(path: Path) -> Folder:
    made = Folder(path, ".jsonl")
    made.begin(MADE_WITH)
    return made


def done(made: Folder, part: Part, bad: int = 0) -> None:
    with made.written(part, [{"row": part.first_row, "code": "no_text"}] * bad) as path:
        path.write_text("row\n")


def test_a_part_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    made = folder(tmp_path / "out")
    done(made, PARTS[1])
    with pytest.raises(FileNotFoundError), made.written(PARTS[0], [{"row": 0}]):
        pass  # nothing was written
    assert made.left(PARTS) == [PARTS[0], PARTS[2]]
    assert sorted(each.name for each in made.path.iterdir()) == [".work", "part-000001.jsonl", "run.json"]


def test_what_a_killed_run_left_is_taken_away(tmp_path: Path) -> None:
    made = folder(tmp_path / "out")
    (made.path / "part-000000-abc.jsonl.partial").write_text("half")
    made.attempt(PARTS[0])
    made.begin(MADE_WITH)
    assert sorted(each.name for each in made.path.iterdir()) == [".work", "run.json"]
    assert list((made.path / ".work").iterdir()) == []


def test_bad_rows_are_brought_together_in_order_once(tmp_path: Path) -> None:
    made = folder(tmp_path / "out")
    for part, bad in zip(reversed(PARTS), (2, 0, 1), strict=True):
        done(made, part, bad)
    for _ in range(2):
        assert made.finish(PARTS) == {"no_text": 3}
        rows = [json.loads(line)["row"] for line in (made.path / BAD_ROWS).read_text().splitlines()]
        assert rows == [0, 2, 2]


def test_a_run_that_stopped_while_it_finished_loses_no_bad_row(tmp_path: Path) -> None:
    made = folder(tmp_path / "out")
    for part in PARTS:
        done(made, part, 1)
    made.finish(PARTS)
    work = made.path / ".work"
    (work / f"{PARTS[2].name}.{BAD_ROWS}").write_text('{"row": 2, "code": "no_text"}\n')  # was not taken away yet
    assert made.finish(PARTS) == {"no_text": 3}


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"num_beams": 4}, "num_beams was 2, is 4"),
        ({"input": []}, "the input has changed"),
        ({"model": "sha256:2"}, "the model is another one"),
        ({"seed": 7}, "seed was None, is 7"),
    ],
)
def test_a_run_is_continued_as_it_was_begun(changed: dict[str, object], fault: str, tmp_path: Path) -> None:
    made = folder(tmp_path / "out")
    assert made.check(MADE_WITH)
    with pytest.raises(BatchError, match=rf"out'.*made otherwise: {fault}\. Remove it"):
        made.check({**MADE_WITH, **changed})


def test_a_setting_that_is_no_longer_given_is_a_difference(tmp_path: Path) -> None:
    made = folder(tmp_path / "out")
    with pytest.raises(BatchError, match="num_beams was 2, is None"):
        made.check({key: value for key, value in MADE_WITH.items() if key != "num_beams"})


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    assert not Folder(tmp_path / "none", ".csv").check(MADE_WITH)
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(BatchError, match=r"has thesis\.txt, and no run\.json"):
        Folder(tmp_path, ".csv").check(MADE_WITH)
    with pytest.raises(BatchError, match="is no folder"):
        Folder(tmp_path / "thesis.txt", ".csv").check(MADE_WITH)


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    made = folder(tmp_path / "out")
    with made.locked(), pytest.raises(BatchError, match="another run is at work"), made.locked():
        pass


def test_a_part_that_ends_its_process_is_not_tried_for_ever(tmp_path: Path) -> None:
    made = folder(tmp_path / "out")
    for _ in range(3):
        made.attempt(PARTS[2])
    with pytest.raises(BatchError, match="rows 2 to 2 ended the process that answered them 3 times"):
        made.attempt(PARTS[2])
    done(made, PARTS[1])  # and one that is done begins anew
    made.attempt(PARTS[1])
