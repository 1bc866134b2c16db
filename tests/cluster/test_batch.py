"""`dqbart batch` on two machines, of which one dies: every row is there once, with the output that it has anyway.

The command runs as a job of the cluster, as a RayJob has it run (k8s/batch).
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from dqbart import load
from tests.cluster.asking import TEXTS
from tests.cluster.cluster import Cluster, cluster
from tests.cluster.configuration import MODEL, ROOT
from tests.cluster.nodes import Network

ROWS = 3000
JOB = "dqbart-batch"


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that every machine has: /tmp is each one's own."""
    (ROOT / "runs").mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="batch-", dir=ROOT / "runs"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def two(network: Network) -> Iterator[Cluster]:
    with cluster(network) as running:
        running.add(cpus=1)
        running.add(cpus=1)
        yield running


def test_every_row_is_there_once_when_a_machine_dies(two: Cluster, shared: Path) -> None:
    words = [text.split() for text in TEXTS]
    texts = [" ".join(each) for each in product(*words)][:ROWS]
    source, output = shared / "in.jsonl", shared / "out"
    source.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts), encoding="utf-8")
    command = [str(Path(sys.executable).with_name("dqbart")), "batch", str(ROOT / "models" / MODEL), str(source)]
    command += ["--output", str(output), "--source-language", "de", "--rows-per-file", "50"]

    two.wait(lambda: two.cores() == 2, "the second machine has not joined")
    two.dashboard_says("/api/jobs/", entrypoint=shlex.join(command), submission_id=JOB).raise_for_status()

    def log() -> str:
        return str(two.dashboard_says(f"/api/jobs/{JOB}/logs").json()["logs"])

    def files() -> list[Path]:
        return sorted(output.glob("part-*.jsonl"))

    two.wait(lambda: len(files()) >= 4, "no part is done")
    two.machines[1].kill()
    before = len(files())
    two.wait(lambda: two.dashboard_says(f"/api/jobs/{JOB}").json()["status"] in ("SUCCEEDED", "FAILED"), "it has no end")
    print(f"killed with {before} parts done of {ROWS // 50}\n{log()}")
    assert before < ROWS // 50
    assert "2 actor(s), each of 1 thread(s)" in log()
    assert "a machine was lost" in log()
    assert "1 actor(s), each of 1 thread(s)" in log()
    assert f"{ROWS:,} rows with outputs" in log()

    rows = [json.loads(line) for path in files() for line in path.read_text(encoding="utf-8").splitlines()]
    assert [(row["row"], row["text"]) for row in rows] == list(enumerate(texts))
    with load(ROOT / "models" / MODEL, threads=1) as model:
        results = model.translate(texts[::50], source="de", target="en")
    assert [row["output"] for row in rows[::50]] == [each.text for each in results]
