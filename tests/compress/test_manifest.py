from pathlib import Path

import pytest

from compress.manifest import MANIFEST_FILE, ManifestError, read_manifest, summary, write_manifest

MANIFEST = {
    "command": "compress",
    "flags": {"train": "train.jsonl", "valid": ["a.jsonl", "b.jsonl"]},
    "seed": 3,
    "versions": {"dqbart": "0.1.0", "torch": "2.13.0", "platform": "Linux x86_64"},
    "device": "cpu",
    "train": {"examples": 12_000, "digest": "sha256:0"},
    "valid": {"examples": 500, "digest": "sha256:1"},
    "started": "2026-01-01T00:00:00+00:00",
    "finished": None,
    "steps": 4_000,
    "best": {"step": 3_000, "scores": {"BLEU": 30.0}},
    "tokens": 90_000,
    "seconds": 90.0,
    "tokens_per_second": 1_000,
}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None
    write_manifest(tmp_path, MANIFEST)
    assert read_manifest(tmp_path) == MANIFEST
    assert [path.name for path in tmp_path.iterdir()] == [MANIFEST_FILE]


def test_the_summary_is_what_people_look_for() -> None:
    assert summary(MANIFEST) == {
        "trained on": "train.jsonl (12,000 examples)",
        "validated on": "a.jsonl, b.jsonl (500 examples)",
        "steps": "4,000, best at 3,000",
        "seed": "3",
        "trained in": "1.5 min at 1,000 tokens/s (cpu)",
        "made with": "dqbart 0.1.0, torch 2.13.0",
    }


def test_a_model_that_was_only_packed_has_no_speed() -> None:
    packed = {**MANIFEST, "flags": {}, "steps": 0, "best": None, "seconds": 0.0, "tokens_per_second": None}
    assert (summary(packed)["trained on"], summary(packed)["steps"]) == ("12,000 examples", "0")
    assert "trained in" not in summary(packed)


@pytest.mark.parametrize("content", ["{", "[]"])
def test_what_is_no_manifest_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / MANIFEST_FILE).write_text(content)
    with pytest.raises(ManifestError, match=MANIFEST_FILE):
        read_manifest(tmp_path)


def test_a_manifest_that_lacks_entries_says_which() -> None:
    with pytest.raises(ManifestError, match="versions"):
        summary({"flags": {}, "best": None})
