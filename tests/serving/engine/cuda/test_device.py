from __future__ import annotations

import pytest
import torch

from serving.engine.cuda import device
from serving.engine.cuda.device import InexactDevice, Staging, Steps, available, int8_product, require_exact_products

CPU = torch.device("cpu")
needs_cuda = pytest.mark.skipif(not available().available, reason=f"captures on a GPU: {available().reason}")


def test_why_it_is_not_available(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert available() == (False, "torch finds no CUDA device")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 0))
    assert available() == (False, "the GPU's compute capability is 7.0, 7.5 is needed")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(device, "find_spec", lambda name: None)
    assert available() == (False, "bitsandbytes is not installed: pip install 'dqbart[gpu]'")
    monkeypatch.setattr(device, "find_spec", lambda name: object())
    assert available() == (True, "")


def test_products_by_hand() -> None:
    tokens = torch.tensor([[1, -2], [127, 127]], dtype=torch.int8)
    weight = torch.tensor([[3, 4], [-127, -127], [0, 1]], dtype=torch.int8)
    assert int8_product(CPU)(tokens, weight).tolist() == [[-5, 127, -2], [889, -32258, 127]]


def test_bitsandbytes_multiplies_as_its_stand_in() -> None:
    """On the CPU; that it is exact on a GPU is tried when a runner is made there."""
    functional = pytest.importorskip("bitsandbytes.functional", reason="bitsandbytes is not installed")
    codes = torch.randint(-127, 128, (37, 208), dtype=torch.int8)
    assert torch.equal(functional.int8_linear_matmul(codes[:5], codes), int8_product(CPU)(codes[:5], codes))


def test_an_inexact_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    require_exact_products(CPU)
    assert torch.backends.cuda.matmul.fp32_precision == "ieee"
    halved = lambda tokens, weight: (tokens.bfloat16() @ weight.mT.bfloat16()).int()  # noqa: E731
    monkeypatch.setattr(device, "int8_product", lambda chosen: halved)
    with pytest.raises(InexactDevice, match="int8 products of whole numbers on cpu are not exact"):
        require_exact_products(CPU)


def test_uploads_stay_in_place_until_they_need_more_room() -> None:
    staging = Staging(CPU, capacity=4)
    first = staging.upload([1, 2, 3])
    assert first.tolist() == [1, 2, 3]
    second = staging.upload(torch.tensor([4, 5]))
    assert (second.data_ptr(), second.tolist()) == (first.data_ptr(), [4, 5])
    assert staging.upload(range(100)).tolist() == list(range(100))
    assert first.tolist() == [4, 5, 3]


def test_steps_are_called_on_a_cpu() -> None:
    steps, total = Steps(CPU), torch.zeros(())
    for addend in (1.0, 2.0):
        steps.run("shape", lambda addend=addend: total.add_(addend))  # type: ignore[misc]
    assert total.item() == 3.0


@needs_cuda
def test_steps_are_replayed_on_a_gpu() -> None:
    """The graph of the first step of a shape reads what its tensors hold now; another shape is another graph."""
    gpu = torch.device("cuda")
    steps, source, target = Steps(gpu), torch.ones(4, device=gpu), torch.zeros(4, device=gpu)
    for number in (1.0, 2.0, 3.0):
        source.fill_(number)
        steps.run(4, lambda: target.copy_(source * 2))
        assert target.tolist() == [2 * number] * 4
    steps.run(2, lambda: target[:2].copy_(source[:2] * 3))
    assert target.tolist() == [9, 9, 6, 6]
