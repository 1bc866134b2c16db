"""A full disk stops a run with a message, and what was saved before is still there to continue from."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from compress.training.state import ResumeError, TrainingState
from quant.whole_files import WriteError

STATE = TrainingState(
    weights={"a": torch.ones(64)},
    moments={"random_state": torch.get_rng_state(), "a.step": torch.tensor(3.0)},
    schedule={"last_epoch": 3, "_step_count": 4},
    step=3,
    epoch=0,
    position=3,
)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root may mount a small file system, and not in every container")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_state_that_does_not_fit_the_disk_leaves_the_last_one(small_disk: Path) -> None:
    STATE.save(small_disk / "last", {"best": 1.5})
    larger = replace(STATE, step=4, weights={"a": torch.zeros(2**16)})
    with pytest.raises(
        WriteError, match=r"last cannot be written: .*No space left on device.*; what was there before is whole"
    ):
        larger.save(small_disk / "last", {"best": 2.5})
    loaded, record = TrainingState.load(small_disk / "last")
    assert (loaded.step, record) == (3, {"best": 1.5})
    assert torch.equal(loaded.weights["a"], STATE.weights["a"])
    # The half that was written is gone: there is room for what fits.
    replace(STATE, step=5).save(small_disk / "last", {"best": 3.5})
    assert TrainingState.load(small_disk / "last")[0].step == 5


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    STATE.save(tmp_path / "last", {"best": None})
    weights = tmp_path / "last" / "student.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(ResumeError, match="last cannot be resumed from"):
        TrainingState.load(tmp_path / "last")
