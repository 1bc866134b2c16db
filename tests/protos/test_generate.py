from __future__ import annotations

from pathlib import Path

import pytest

from protos.dqbart.v1 import seq2seq_pb2
from protos.generate import ROOT, generate


def test_committed_stubs_equal_a_fresh_generation(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="the dev extra is not installed")
    fresh = generate(tmp_path)
    assert len(fresh) == 4
    for path in fresh:
        committed = ROOT / path.relative_to(tmp_path)
        assert committed.read_text() == path.read_text(), f"{committed.name} is old: python -m protos.generate"


TASKS = ("Translate", "Summarize", "Answer")


def test_wire_package_is_dqbart_v1() -> None:
    service = seq2seq_pb2.DESCRIPTOR.services_by_name["Seq2Seq"]
    assert service.full_name == "dqbart.v1.Seq2Seq"
    assert [method.name for method in service.methods] == [*TASKS, *(f"{task}Stream" for task in TASKS), "ListModels"]
