"""From a folder to a runner: packed once, checked whenever it was not."""

from __future__ import annotations

import gc
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quant.artifact import WEIGHTS_FILE, ArtifactError, open_artifact
from quant.stored_tensors import OpenFile, StoredTensors
from serving.engine.engine import Engine, load_engine
from serving.engine.native import packed_folder
from serving.engine.request import GenerationParameters, Request
from serving.engine.runners import prepare
from serving.engine.settings import EngineSettings

REQUEST = Request(
    tuple(range(4, 40)),
    GenerationParameters(max_new_tokens=8, decoder_start_token_id=2, eos_token_ids=(2,), num_beams=3),
)


@pytest.fixture
def artifact(build_student: Any, tmp_path: Path) -> Path:
    """A folder whose file was not just written, so that what is known of it is kept."""
    copy = tmp_path / "model"
    shutil.copytree(build_student("mbart", "2-4-8").artifact.path, copy)
    return copy


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EngineSettings]:
    monkeypatch.setattr(packed_folder, "SETTLED_SECONDS", -1.0)
    packed_folder.packed_folder.cache_clear()
    packed_folder.say_once.cache_clear()
    yield EngineSettings(packed_folder=str(tmp_path / "cache"))
    packed_folder.packed_folder.cache_clear()


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes of weights files were read."""
    counts: list[int] = []
    into = OpenFile.read_into

    def counted(file: OpenFile, place: int, buffer: Any) -> None:
        counts.append(memoryview(buffer).nbytes)
        into(file, place, buffer)

    monkeypatch.setattr(OpenFile, "read_into", counted)
    return counts


def answer(engine: Engine, run_all: Any) -> Any:
    (result,) = run_all(engine, [REQUEST])
    return result.sequences


def test_the_same_answers_however_it_was_loaded(artifact: Path, settings: EngineSettings, run_all: Any) -> None:
    expected = answer(load_engine(artifact, EngineSettings(), "pytorch"), run_all)
    for given in (EngineSettings(packed_folder="none"), settings, settings):
        assert answer(load_engine(artifact, given, "native"), run_all) == expected
    assert len(list(Path(settings.packed_folder).glob("*.packed"))) == 1


def test_a_check_reads_an_artifact_and_who_loads_it_does_not(
    artifact: Path, settings: EngineSettings, read: list[int]
) -> None:
    """For the digest and for the panels: the second time from the system's memory of the file."""
    prepare(open_artifact(artifact), settings, "native")
    assert sum(read) <= 2.1 * (artifact / WEIGHTS_FILE).stat().st_size
    read.clear()
    prepare(open_artifact(artifact), settings, "native")
    load_engine(artifact, settings, "native")
    assert not read


@pytest.mark.parametrize("folder", ["cache", "none", "read-only"])
def test_what_is_damaged_is_refused_by_the_check_and_by_who_loads_it(
    folder: str, artifact: Path, settings: EngineSettings, tmp_path: Path
) -> None:
    if folder == "read-only":
        (tmp_path / "file").touch()
    place = str({"cache": settings.packed_folder, "read-only": tmp_path / "file" / "below"}.get(folder, folder))
    given = EngineSettings(packed_folder=place)
    prepare(open_artifact(artifact), given, "native")
    tensors = open_artifact(artifact).tensors
    assert isinstance(tensors, StoredTensors)
    with (artifact / WEIGHTS_FILE).open("r+b") as file:
        file.seek(tensors.codes_place("model.decoder.layers.1.fc2.weight") + 5)
        file.write(b"\xff")
    for look in (
        lambda: prepare(open_artifact(artifact), given, "native"),
        lambda: prepare(open_artifact(artifact), given, "pytorch"),
        lambda: load_engine(artifact, given, "native"),
        lambda: load_engine(artifact, given, "pytorch"),
    ):
        with pytest.raises(ArtifactError, match=r"decoder\.layers\.1\.fc2\.weight\.codes: byte 255 is no five"):
            look()


def test_without_room_a_model_is_loaded_all_the_same_which_is_said_once(
    artifact: Path, settings: EngineSettings, run_all: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(descriptor: int, offset: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    expected = answer(load_engine(artifact, EngineSettings(packed_folder="none"), "native"), run_all)
    monkeypatch.setattr(os, "posix_fallocate", full)
    for _ in range(2):
        assert answer(load_engine(artifact, settings, "native"), run_all) == expected
    assert caplog.text.count("packed weights are not kept") == 1
    assert "No space left on device" in caplog.text


def test_a_file_that_is_written_while_it_is_packed_is_refused(
    artifact: Path, settings: EngineSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    into = OpenFile.read_into

    def written(file: OpenFile, place: int, buffer: Any) -> None:
        os.utime(artifact / WEIGHTS_FILE)
        into(file, place, buffer)

    monkeypatch.setattr(OpenFile, "read_into", written)
    for folder in (settings.packed_folder, "none"):
        with pytest.raises(ArtifactError, match="was written while it was read"):
            load_engine(artifact, EngineSettings(packed_folder=folder), "native")
    assert not list(Path(settings.packed_folder).glob("*.packed"))


def test_it_is_mapped_read_only_and_shared(artifact: Path, settings: EngineSettings) -> None:
    for _ in range(2):
        engine = load_engine(artifact, settings, "native")
        maps = Path("/proc/self/maps").read_text()
        assert re.findall(rf"^\S+ (\S+) .*{settings.packed_folder}/.*\.packed$", maps, re.M) == ["r--s"]
        del engine
        gc.collect()
        assert settings.packed_folder not in Path("/proc/self/maps").read_text()
