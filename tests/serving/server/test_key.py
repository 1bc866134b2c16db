from __future__ import annotations

from pathlib import Path

import pytest

from dqbart.cli import run_command
from serving.server.key import Key
from serving.server.settings import Serve
from serving.service.access import Access, make_key

KEY, KNOWN = make_key("alice")
_, OTHER = make_key("bob")


def test_the_line_that_is_printed_is_taken_as_a_setting(capsys: pytest.CaptureFixture[str]) -> None:
    run_command(Key, "key", ["carol"])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    (key,), (known,) = ([line for line in lines if line.startswith(start)] for start in ("dqb_", "carol:"))
    assert Access(Serve(api_keys=[known]).keys()).name_of(key) == "carol"


def test_a_name_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_command(Key, "key", ["a:b"])
    assert "name = 'a:b': letters, digits, '.', '_' and '-' are accepted, 64 at most" in capsys.readouterr().err


def test_keys_come_from_the_environment_and_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# who may ask\n{OTHER.line()}\n")
    monkeypatch.setenv("DQBART_API_KEYS", KNOWN.line())
    monkeypatch.setenv("DQBART_API_KEYS_FILE", str(file))
    assert Serve().gate.keys == (KNOWN, OTHER)


@pytest.mark.parametrize(
    "given",
    [[KEY], KEY, f"alice:{KEY}", {"alice": KEY}, [{"alice": KEY}], 5],
    ids=["list", "text", "line", "map", "list of maps", "number"],
)
def test_a_key_in_place_of_its_hash_is_refused_and_never_repeated(
    given: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "serve.yaml"
    config.write_text(f"api_keys: {given!r}")
    with pytest.raises(SystemExit):
        run_command(Serve, "serve", ["--config", str(config)])
    told = capsys.readouterr().err
    assert "api_keys: entry 1: NAME:HASH is expected" in told
    assert KEY not in told


def test_a_file_at_fault_is_named(tmp_path: Path) -> None:
    absent, empty, twice = tmp_path / "absent", tmp_path / "empty", tmp_path / "twice"
    empty.write_text("# nobody\n")
    twice.write_text(KNOWN.line())
    with pytest.raises(ValueError, match=r"api_keys_file = .*absent.*No such file"):
        Serve(api_keys_file=absent)
    with pytest.raises(ValueError, match=r"it has no keys, so that everybody could ask"):
        Serve(api_keys_file=empty)
    with pytest.raises(ValueError, match=r"both have the name alice"):
        Serve(api_keys=[KNOWN.line()], api_keys_file=twice)
