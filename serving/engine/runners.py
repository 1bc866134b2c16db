"""Which runner an artifact gets on this machine: a GPU where there is one, else native kernels where this CPU has what they
need, else plain PyTorch. Each is imported when it is chosen."""

from __future__ import annotations

import logging

from quant.artifact import Artifact, check_tensors
from quant.errors import Error
from serving.engine.memory import give_back_freed_memory
from serving.engine.runner import Runner
from serving.engine.settings import EngineSettings, RunnerName

_LOG = logging.getLogger(__name__)


class RunnerUnavailable(Error, RuntimeError):
    """The runner that was asked for cannot be used here; the message says why and which are left."""


def runner_for(artifact: Artifact, settings: EngineSettings, name: RunnerName = "auto") -> Runner:
    """The runner of that name, `auto` for the fastest that can run this artifact here, which was read or opened.

    Raises RunnerUnavailable when one is named that cannot be used, and ArtifactError for what is read here.
    """
    if name == "pytorch":
        return _pytorch(artifact)
    reasons = {}
    for candidate, build in (("cuda", _cuda), ("native", _native)):
        if name in ("auto", candidate):
            runner = build(artifact, settings)
            if not isinstance(runner, str):
                return runner
            reasons[candidate] = runner
    if name != "auto":
        raise RunnerUnavailable(f"runner = {name!r} cannot be used: {reasons[name]}; auto takes the fastest that can")
    _LOG.warning("the slow PyTorch runner is used: no native kernels (%s), no GPU (%s)", reasons["native"], reasons["cuda"])
    return _pytorch(artifact)


def prepare(artifact: Artifact, settings: EngineSettings, name: RunnerName = "auto") -> None:
    """Check all that the tensors of an opened artifact hold, and leave them to the runner of that name, if it keeps such.

    Raises ArtifactError.
    """
    from serving.engine.native.library import UnavailableError
    from serving.engine.native.loading import prepare as prepare_packed
    from serving.engine.native.runner import check_runs

    native = name == "native" or (name == "auto" and reason_against("cuda") is not None)
    try:
        if native:
            check_runs(artifact)
    except UnavailableError:
        native = False
    if native:
        prepare_packed(artifact, settings.packed_folder)
    else:
        check_tensors(artifact)


def reason_against(name: RunnerName) -> str | None:
    """Why no artifact can have the runner of that name on this machine; None where one may, and for `auto`."""
    if name == "cuda":
        from serving.engine.cuda.device import available

        return available().reason or None
    if name == "native":
        from serving.engine.native.library import UnavailableError, kernels

        try:
            kernels()
        except UnavailableError as error:
            return str(error)
    return None


def _cuda(artifact: Artifact, settings: EngineSettings) -> Runner | str:
    if reason := reason_against("cuda"):
        return reason
    from serving.engine.cuda.device import InexactDevice, UnsupportedModel
    from serving.engine.cuda.runner import CudaRunner

    try:
        return _without_rest(CudaRunner(artifact.whole(), settings.max_batch_rows, settings.max_cache_bytes))
    except (InexactDevice, UnsupportedModel) as error:
        return str(error)


def _native(artifact: Artifact, settings: EngineSettings) -> Runner | str:
    from serving.engine.native.library import UnavailableError
    from serving.engine.native.loading import weights_of
    from serving.engine.native.runner import NativeRunner, check_runs

    try:
        check_runs(artifact)
        return NativeRunner(artifact, weights_of(artifact, settings.packed_folder))
    except UnavailableError as error:
        return str(error)


def _pytorch(artifact: Artifact) -> Runner:
    from serving.engine.pytorch.model import Model
    from serving.engine.pytorch.runner import PyTorchRunner

    return _without_rest(PyTorchRunner(Model(artifact.whole())))


def _without_rest(runner: Runner) -> Runner:
    # Of a whole artifact in memory, which the native runner does without: looking for it takes longer than mapping a model.
    give_back_freed_memory()
    return runner
