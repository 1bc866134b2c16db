"""Which runner is taken, and what is said when it is not the one that was hoped for."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from quant.artifact import Artifact
from serving.engine.native import library
from serving.engine.native.library import UnavailableError, kernels
from serving.engine.pytorch.runner import PyTorchRunner
from serving.engine.runners import RunnerUnavailable, runner_for
from serving.engine.settings import EngineSettings

needs_no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU, which is taken first")


@pytest.fixture
def artifact(build_student: Any) -> Artifact:
    found: Artifact = build_student("bart", "2-2-8").artifact
    return found


@pytest.fixture
def no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels.cache_clear()
    monkeypatch.setattr(library, "BUILT", "no such file")


@needs_no_gpu
def test_auto_takes_native_kernels_where_they_can_be_used(artifact: Artifact) -> None:
    try:
        kernels()
    except UnavailableError as error:
        pytest.skip(f"no native kernels: {error}")
    assert type(runner_for(artifact, EngineSettings())).__name__ == "NativeRunner"


@needs_no_gpu
@pytest.mark.usefixtures("no_kernels")
def test_auto_falls_back_to_pytorch_and_says_why(artifact: Artifact, caplog: pytest.LogCaptureFixture) -> None:
    assert isinstance(runner_for(artifact, EngineSettings()), PyTorchRunner)
    assert "no native kernels (they were not built" in caplog.text
    assert "no GPU (torch finds no CUDA device)" in caplog.text


@pytest.mark.usefixtures("no_kernels")
def test_a_named_runner_is_taken_or_refused(artifact: Artifact) -> None:
    assert isinstance(runner_for(artifact, EngineSettings(), "pytorch"), PyTorchRunner)
    with pytest.raises(RunnerUnavailable, match=r"runner = 'native' cannot be used: they were not built.*auto takes"):
        runner_for(artifact, EngineSettings(), "native")
