"""An artifact's packed weights: mapped where they were packed before, else packed, into the folder if there is one."""

from __future__ import annotations

import hashlib
import os

from quant.artifact import Artifact
from quant.stored_tensors import StoredTensors
from serving.engine.native.packed_file import UntrustedFile
from serving.engine.native.packed_folder import PackedFolder, packed_folder, say_once
from serving.engine.native.packed_layout import PackedLayout, packed_layout
from serving.engine.native.packed_weights import Memory, PackedWeights, pack_into
from serving.engine.native.weights import ArtifactWeights, Weights


def weights_of(artifact: Artifact, folder: str) -> Weights:
    """Weights of an artifact that was read, or opened; `folder` is EngineSettings.packed_folder. Raises ArtifactError."""
    tensors = artifact.tensors
    if not isinstance(tensors, StoredTensors):
        return ArtifactWeights(artifact)
    layout = packed_layout(artifact)
    memory = _kept(tensors, layout, packed_folder(folder))
    if memory is None:
        memory = Memory.of_own(layout.size)
        pack_into(memory, tensors, layout)
    return PackedWeights(artifact, layout, memory)


def prepare(artifact: Artifact, folder: str) -> None:
    """Check all that the tensors of an opened artifact hold, and leave them packed in the folder, if there is one.

    What lies there packed was checked when it was packed. Raises ArtifactError.
    """
    tensors, layout, opened = artifact.tensors, packed_layout(artifact), packed_folder(folder)
    assert isinstance(tensors, StoredTensors), "it was read, and so checked"
    if opened is not None and opened.has(_key(tensors, layout, opened), layout.size):
        return
    if _kept(tensors, layout, opened) is None:
        tensors.check()


def _kept(tensors: StoredTensors, layout: PackedLayout, folder: PackedFolder | None) -> Memory | None:
    """From the folder, in which they are packed first unless they lie there; None where they cannot."""
    if folder is None:
        return None
    key = _key(tensors, layout, folder)
    try:
        return folder.weights(key, layout.size, lambda memory: pack_into(memory, tensors, layout))
    except (OSError, UntrustedFile) as fault:
        say_once(f"packed weights are not kept: {folder.path}: {getattr(fault, 'strerror', None) or fault}")
        return None


def _key(tensors: StoredTensors, layout: PackedLayout, folder: PackedFolder) -> bytes:
    """Of the weights of this artifact in this layout."""
    file = folder.digest(tensors.path, tensors.file)
    return hashlib.sha256(os.fsencode(file) + layout.digest()).digest()
