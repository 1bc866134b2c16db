"""The benchmark runs; what it measures is not asserted."""

import pytest
import torch

from benchmarks.engine import SHIPPED, WORKS, alternate, dequantized, main
from quant.artifact import read_artifact
from quant.numerics import dequantize


def test_every_work_gets_a_ratio(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.engine.WORKS", WORKS[:2])
    main(SHIPPED, new_tokens=2, rounds=1, threads=torch.get_num_threads())
    printed = capsys.readouterr().out
    assert all(str(work) in printed for work in WORKS[:2])
    assert "medians of 1 alternating runs" in printed


def test_the_peer_has_the_artifacts_values() -> None:
    artifact = read_artifact(SHIPPED)
    peer = dequantized(artifact)
    name = "model.decoder.layers.2.encoder_attn.v_proj.weight"
    assert torch.equal(peer.state_dict()[name], dequantize(artifact.quantized(name)))
    assert torch.equal(peer.lm_head.weight, dequantize(artifact.quantized("model.shared.weight")))


def test_the_first_run_does_not_count_and_runs_alternate() -> None:
    order: list[str] = []
    medians = alternate({name: lambda name=name: order.append(name) for name in "ab"}, rounds=2)
    assert order == list("ababab")
    assert set(medians) == {"a", "b"}
