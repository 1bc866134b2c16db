"""Two processes under Ray, as a user starts them: the result is that of one process, also when one of them is killed.

Each run is a process of its own: Ray leaves threads and settings behind.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from compress.training.workers import WorkersError, _fault, _takes_gpus

ROOT = Path(__file__).parents[3]


class Run:
    """`dqbart compress` or `finetune` of the tiny mBART into `folder`, in the background."""

    def __init__(self, teacher: str, pairs: str, folder: Path, *more: str, command: str = "compress") -> None:
        self.folder = folder
        data = ["--train", pairs, "--valid", pairs, "--valid-examples", "2", "--num-beams", "1", "--max-new-tokens", "4"]
        task = ["--task", "translation", "--source-language", "de_DE", "--target-language", "en_XX", "--device", "cpu"]
        student = ["--layers", "1-1", "--bits", "8-8-8"] if command == "compress" else ["--dropout", "0"]
        training = ["--batch-tokens", "60", "--learning-rate", "1e-3", "--bf16", "off", "--output", str(folder)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dqbart", command, teacher, *data, *task, *student, *training, *more],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self, code: int = 0) -> str:
        """Waits for the end, which must have this exit code, and returns what was printed."""
        output, _ = self.process.communicate()
        assert self.process.returncode == code, output
        return output

    @property
    def saved_step(self) -> int:
        path = self.folder / "training" / "last" / "state.json"
        return int(json.loads(path.read_text())["step"]) if path.exists() else 0

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        return load_file(self.folder / "training" / "last" / "student.safetensors")

    @property
    def losses(self) -> dict[str, float]:
        """Of the last report."""
        entries = [json.loads(line) for line in (self.folder / "training" / "log.jsonl").read_text().splitlines()]
        last = [entry for entry in entries if "total" in entry][-1]
        return {name: value for name, value in last.items() if name not in ("step", "learning_rate", "tokens_per_second")}


def test_two_processes_train_as_one_does(teachers, pairs, tmp_path: Path) -> None:
    steps = ["--accumulate", "4", "--max-steps", "8", "--on-policy", "0.25"]  # what rank 0 writes, all read
    alone = Run(teachers["mbart50"], pairs, tmp_path / "alone", *steps)
    alone.finish()
    two = Run(teachers["mbart50"], pairs, tmp_path / "two", *steps, "--workers", "2")
    assert "step 8/8" in two.finish()
    assert two.saved_step == 8
    # The gradients of four batches are summed in another order, no more: far less than what training itself changed.
    name = "model.shared.weight"
    start, one, both = (
        load_file(Path(teachers["mbart50"]) / "model.safetensors")[name],
        alone.weights[name],
        two.weights[name],
    )
    assert (both - one).norm() < 0.01 * (one - start).norm()
    assert {"total", "task", "logits", "on-policy total", "on-policy logits"} <= set(alone.losses)
    assert two.losses == pytest.approx(alone.losses, rel=1e-3)


@pytest.mark.slow  # what the test above runs, but for the command
def test_two_processes_finetune_as_one_does(teachers, pairs, tmp_path: Path) -> None:
    steps = ["--accumulate", "2", "--max-steps", "6"]
    alone = Run(teachers["mbart50"], pairs, tmp_path / "alone", *steps, command="finetune")
    alone.finish()
    two = Run(teachers["mbart50"], pairs, tmp_path / "two", *steps, "--workers", "2", command="finetune")
    assert "train: 48 examples" in two.finish()
    # With a batch for each of two processes, not even the order of the sums differs.
    for name, tensor in alone.weights.items():
        assert torch.allclose(two.weights[name], tensor, rtol=0.0, atol=1e-6), name
    assert sorted(path.name for path in (tmp_path / "two" / "training").iterdir()) == [
        "initial",
        "last",
        "log.jsonl",
        "tensorboard",
    ]


@pytest.mark.slow  # Ray starts its processes twice
def test_a_killed_worker_does_not_change_the_result(teachers, pairs, tmp_path: Path) -> None:
    steps = ["--accumulate", "2", "--max-steps", "60", "--validate-every", "20"]
    steps += ["--prune-heads", "0.25", "--measure-batches", "1"]  # what rank 0 finds is what all of them have
    alone = Run(teachers["mbart50"], pairs, tmp_path / "alone", *steps)
    alone.finish()
    killed = Run(teachers["mbart50"], pairs, tmp_path / "killed", *steps, "--workers", "2")
    while not killed.saved_step and killed.process.poll() is None:
        time.sleep(0.01)
    _, second = workers_of(killed.process.pid)
    os.kill(second, signal.SIGKILL)
    output = killed.finish()
    assert "a worker was lost; all start again, from step" in output
    assert killed.saved_step == 60
    # With a batch for each of two processes, not even the order of the sums differs.
    for name, tensor in alone.weights.items():
        assert torch.allclose(killed.weights[name], tensor, rtol=0.0, atol=1e-6), name


@pytest.mark.parametrize(
    ("device", "workers", "message"),
    [
        ("cuda", 3, "workers = 3 on cuda need a GPU each, and the cluster has 2"),
        ("auto", 9, "workers = 9 need a CPU core each, and the cluster has 8"),
        ("cuda:1", 2, "device is 'cuda:1': with workers = 2, cpu, cuda and auto are accepted"),
    ],
)
def test_what_the_cluster_lacks_is_named(monkeypatch: pytest.MonkeyPatch, device: str, workers: int, message: str) -> None:
    import ray

    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0, "GPU": 2.0})
    with pytest.raises(WorkersError, match=re.escape(message)):
        _takes_gpus(device, workers)


def test_a_fault_of_the_work_is_told_from_a_death() -> None:
    from ray.train import WorkerGroupError

    fault = WorkersError("the disk is full")
    collateral = RuntimeError("connection closed by peer")
    assert _fault(WorkerGroupError("", {0: collateral, 1: fault})) is fault
    assert _fault(WorkerGroupError("", {0: collateral})) is None


def workers_of(process: int) -> list[int]:
    return [pid for pid in descendants(process) if b"RayTrainWorker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def descendants(process: int) -> list[int]:
    """Of a process, from /proc."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended meanwhile
        children.setdefault(parent, []).append(int(folder.name))
    found: list[int] = []
    waiting = [process]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found
