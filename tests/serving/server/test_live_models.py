"""Models exchanged while requests use them, with real artifacts and engines that only remember whether they were closed."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from quant.tokenizer_file import TokenizerError
from serving.engine.engine import EngineStats
from serving.observability.metrics import Metrics
from serving.server.live_models import LiveModels, open_model
from serving.server.model_table import ModelTable, fingerprint
from serving.server.residents import Residence, Resident, Residents
from serving.service.errors import ServiceError
from serving.service.models import CheckedModel, ModelError, Models, ServedModel, check_model, default_models


class FakeEngine:
    loaded = True

    def __init__(self) -> None:
        self.fault: str | None = None

    async def generate(self, request: Any) -> Any:
        raise NotImplementedError

    def stream(self, request: Any) -> Any:
        raise NotImplementedError

    def close(self) -> None:
        self.fault = "closed"


class Replica:
    def __init__(self) -> None:
        self.models = Models()
        self.opened: list[str] = []
        self.live = LiveModels(self.models, self._open, 64)

    def _open(self, model: CheckedModel) -> ServedModel:
        if model.name == "unlucky":
            raise OSError("no memory")
        self.opened.append(model.name)
        return ServedModel(model, model.codec(), FakeEngine())


@pytest.fixture
def folders(artifacts: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    """Copies, which a test may change."""
    return {name: Path(shutil.copytree(folder, tmp_path / name)) for name, folder in artifacts.items()}


def test_only_what_has_changed_is_opened(folders: dict[str, Path]) -> None:
    async def run() -> None:
        replica = Replica()
        both = {name: folders[name] for name in ("translator", "summarizer")}
        await replica.live.apply(ModelTable(models=both))
        await replica.live.apply(ModelTable(models={**both, "other": folders["summarizer"]}))
        (folders["translator"] / "notes").write_text("new")
        await replica.live.apply(ModelTable(models={**both, "other": folders["summarizer"]}, contents={"translator": "2"}))
        assert replica.opened == ["translator", "summarizer", "other", "translator"]
        assert replica.models.names == ["translator", "summarizer", "other"]

    asyncio.run(run())


def test_a_request_keeps_its_model_to_the_end(folders: dict[str, Path]) -> None:
    async def run() -> None:
        replica = Replica()
        await replica.live.apply(ModelTable(models={"summarizer": folders["summarizer"]}))
        with replica.models.chosen("summarization", None) as model:
            await replica.live.apply(ModelTable(models={"translator": folders["translator"]}))
            for _ in range(5):
                await asyncio.sleep(0)
            assert not model.engine.fault
            with pytest.raises(ServiceError):
                replica.models.choose("summarization", None)
        await asyncio.gather(*replica.live._closing)
        assert model.engine.fault

    asyncio.run(run())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"defaults": {"translation": "summarizer"}}, "no served model for translation"),
        ({"models": {"unlucky": "translator"}}, "no memory"),
        ({"models": {"summarizer": "absent"}}, "absent"),
    ],
)
def test_a_fault_changes_nothing(folders: dict[str, Path], changed: dict[str, Any], message: str) -> None:
    async def run() -> None:
        replica = Replica()
        models = {"summarizer": folders["summarizer"]}
        await replica.live.apply(ModelTable(models=models))
        served = replica.models["summarizer"]
        more = {name: folders["translator"].with_name(folder) for name, folder in changed.get("models", {}).items()}
        table = ModelTable(models={"answerer": folders["answerer"], **models, **more}, defaults=changed.get("defaults", {}))
        with pytest.raises(ModelError, match=message):
            await replica.live.apply(table)
        assert replica.models.names == ["summarizer"]
        assert replica.models["summarizer"] is served
        assert not served.engine.fault

    asyncio.run(run())


class FakePort:
    def __init__(self, fault: str) -> None:
        self.open = True
        self._fault = fault

    def start(self, told: Any, ended: Any) -> None:
        if self._fault == "start":
            raise ValueError("no thread")

    def stats(self) -> EngineStats:
        return EngineStats()

    def close(self) -> None:
        self.open = False


@pytest.mark.parametrize("fault", ["codec", "start"])
def test_no_engine_is_left_open_when_its_model_cannot_be(folders: dict[str, Path], fault: str) -> None:
    """As when a tokenizer is changed between the check of a model and its opening."""
    model = check_model("summarizer", folders["summarizer"], 64)
    ports: list[FakePort] = []

    def open_engine(_: CheckedModel) -> Any:
        ports.append(FakePort(fault))
        return ports[-1]

    if fault == "codec":
        (folders["summarizer"] / "tokenizer.json").write_text("{}")
    with pytest.raises(TokenizerError if fault == "codec" else ValueError):
        open_model(model, open_engine, Metrics(), Residents(Residence()))
    assert not any(port.open for port in ports)


@pytest.mark.parametrize(
    ("residence", "loaded"),
    [
        (Residence(), True),
        (Residence(at_start=False), False),
        # What does not fit beside the others waits for its use.
        (Residence(max_model_bytes=1 << 40), False),
    ],
)
def test_which_models_are_loaded_at_the_start_is_shown(
    residence: Residence, loaded: bool, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, metrics, residents = check_model("summarizer", folders["summarizer"], 64), Metrics(), Residents(residence)
    if residence.max_model_bytes:
        residents.add(Resident("large", residence.max_model_bytes, FakeEngine, residents))  # type: ignore[arg-type]
    served = open_model(model, lambda _: FakePort(""), metrics, residents)  # type: ignore[arg-type, return-value]
    metrics.show_models([model])
    assert served.engine.loaded == loaded
    page = metrics.page().decode()
    assert f'dqbart_model_loaded{{model="summarizer"}} {float(loaded)}' in page
    assert ('dqbart_model_load_seconds{model="summarizer"}' in page) == loaded
    (described,) = Models([served], {}).describe()
    assert described.loaded == loaded


def test_a_model_that_could_never_be_loaded_is_refused_before_it_is_opened(folders: dict[str, Path]) -> None:
    model = check_model("summarizer", folders["summarizer"], 64)
    with pytest.raises(ModelError, match="above max_model_bytes = 10: raise that"):
        open_model(model, lambda _: pytest.fail("opened"), Metrics(), Residents(Residence(max_model_bytes=10)))


def test_a_tokenizer_that_breaks_while_its_model_is_opened_changes_nothing(folders: dict[str, Path]) -> None:
    async def run() -> None:
        replica = Replica()

        def broken(model: CheckedModel) -> ServedModel:
            raise TokenizerError("tokenizer.json is broken")

        await replica.live.apply(ModelTable(models={"summarizer": folders["summarizer"]}))
        replica.live._open_model = broken
        with pytest.raises(ModelError, match="is broken"):
            await replica.live.apply(ModelTable(models={"translator": folders["translator"]}))
        assert replica.models.names == ["summarizer"]

    asyncio.run(run())


def test_a_table_is_plain_data_and_tells_changed_contents(folders: dict[str, Path]) -> None:
    models = [check_model("summarizer", folders["summarizer"], 64)]
    table = ModelTable.of(models, default_models(models, {}))
    assert ModelTable.model_validate(table.model_dump(mode="json")) == table
    before = fingerprint(folders["summarizer"])
    (folders["summarizer"] / "tokenizer.json").write_text("{}")
    assert fingerprint(folders["summarizer"]) != before
