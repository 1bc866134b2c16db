import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.sweep.children import Children, CommandFailed, Interrupted, last_line

PYTHON = (sys.executable, "-c")


def test_what_a_command_prints_and_its_settings_stand_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DQBART_BITS", "8-8-8")
    code = "import os; print(os.environ.get('DQBART_BITS'), os.environ['OMP_NUM_THREADS'])"
    Children(3, PYTHON).run([code], tmp_path / "log")
    header, printed = (tmp_path / "log").read_text().splitlines()
    assert header.startswith("$ dqbart ")
    assert printed == "None 3"


def test_a_failure_is_told_by_its_last_error(tmp_path: Path) -> None:
    code = "import sys; print('x: error: no room'); print('bye'); sys.exit(4)"
    with pytest.raises(CommandFailed, match=r"^x: error: no room$"):
        Children(None, PYTHON).run([code], tmp_path / "log")


def test_a_silent_failure_is_told_by_its_code(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("error: of an earlier attempt\n")
    with pytest.raises(CommandFailed, match="code 4"):
        Children(None, PYTHON).run(["import sys; sys.exit(4)"], tmp_path / "log")


@pytest.fixture
def background_job() -> Iterator[None]:
    """A shell has its background jobs ignore Ctrl-C, and so their children."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


def test_stopping_ends_what_runs_and_starts_nothing_more(tmp_path: Path, background_job: None) -> None:
    children = Children(None, PYTHON)
    log = tmp_path / "log"
    ended: list[type[BaseException]] = []

    def run() -> None:
        with pytest.raises(Interrupted) as caught:
            children.run(["import time; print('ready', flush=True); time.sleep(600)"], log)
        ended.append(caught.type)

    thread = threading.Thread(target=run)
    thread.start()
    while not (log.exists() and "\nready" in log.read_text()):
        time.sleep(0.01)
    children.stop()
    thread.join()
    assert ended == [Interrupted]
    with pytest.raises(Interrupted):
        children.run(["print('again')"], log)


def test_the_last_line_is_looked_for_after_the_start(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("error: old\nnew\n\n")
    assert last_line(log, len("error: old\n")) == "new"
