"""What a process with models shares, and how it ends: each in an interpreter of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from serving.engine.errors import EngineClosed
from serving.engine.settings import EngineSettings
from serving.program.process import Shared

ROOT = Path(__file__).parents[3]
PATIENCE = 120

START = """
import os, sys, threading
from dqbart import Error, load
folders = sys.argv[1:]
"""


def run(program: str, *folders: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", START + program, *map(str, folders)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def test_nothing_of_a_server_is_imported(artifacts: dict[str, Path]) -> None:
    program = """
with load(folders[0]) as model:
    model.translate(["guten morgen. welt."], source="German", target="en")
    list(model.translate_stream("welt", source="German", target="en"))
    model.description
    model.aio
unwanted = {"ray", "grpc", "fastapi", "starlette", "uvicorn", "prometheus_client", "transformers", "google.protobuf",
            "httpx", "rich", "typer", "pydantic_settings", "opentelemetry"}
print(sorted(unwanted & sys.modules.keys()))
"""
    assert run(program, artifacts["translator"]) == "[]\n"


def test_models_share_threads_and_the_last_to_close_leaves_none(artifacts: dict[str, Path]) -> None:
    program = """
before = {each.name for each in threading.enumerate()}
one = load(folders[0])
with load(folders[1]) as two:
    print(sorted(each.name for each in threading.enumerate() if each.name == "dqbart-requests"))
    two.summarize("she wrote it")
one.translate("welt", source="de", target="en")
one.close()
print(sorted({each.name for each in threading.enumerate()} - before))
with load(folders[0]) as again:
    print(len(again.translate("welt", source="de", target="en")))
"""
    assert run(program, artifacts["translator"], artifacts["summarizer"]) == "['dqbart-requests']\n[]\n1\n"


def test_an_interpreter_ends_with_a_model_at_work(artifacts: dict[str, Path]) -> None:
    program = """
model = load(folders[0])
results = model.translate_each(("guten morgen. " * 200 for _ in range(10_000)), source="de", target="en")
next(results)
stream = model.translate_stream("guten morgen. " * 200, source="de", target="en")
next(stream)
print("done")
"""
    assert run(program, artifacts["translator"]) == "done\n"


def test_an_interpreter_ends_while_a_thread_of_its_waits(artifacts: dict[str, Path]) -> None:
    program = """
model = load(folders[0])
def wait():
    try:
        model.translate(["guten morgen. " * 500] * 5000, source="de", target="en")
    except Error:
        pass
threading.Thread(target=wait, daemon=True).start()
print("done")
"""
    assert run(program, artifacts["translator"]) == "done\n"


def test_a_forked_process_is_told_that_it_has_no_model(artifacts: dict[str, Path]) -> None:
    program = """
import warnings
warnings.simplefilter("ignore")
model = load(folders[0])
child = os.fork()
if not child:
    for work in (lambda: model.translate("welt", source="de", target="en"), lambda: load(folders[0])):
        try:
            work()
        except Error as error:
            print(type(error).__name__, "was forked from it" in str(error), flush=True)
    model.close()
    sys.exit(0)
_, status = os.waitpid(child, 0)
print(status, len(model.translate("welt", source="de", target="en")))
"""
    assert run(program, artifacts["translator"]) == "ForkedError True\nForkedError True\n0 1\n"


def test_a_process_forked_before_anything_was_loaded_may_load(artifacts: dict[str, Path]) -> None:
    program = """
child = os.fork()
with load(folders[0]) as model:
    print(len(model.translate("welt", source="de", target="en")), flush=True)
if child:
    os.waitpid(child, 0)
"""
    assert run(program, artifacts["translator"]) == "1\n1\n"


def test_what_comes_after_the_end_is_refused_and_what_came_before_is_done() -> None:
    shared = Shared(1, EngineSettings.max_cache_bytes)

    async def work() -> int:
        return 1

    futures = [shared.run(work()) for _ in range(100)]
    shared.stop()
    assert [future.result(PATIENCE) for future in futures] == [1] * 100
    with pytest.raises(EngineClosed):
        shared.run(work())
