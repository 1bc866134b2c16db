import pytest
import torch

from compress.training.precision import Bf16, bf16_by_device, faster_at_bf16


class Machine:
    """Takes the given seconds for a step, the first of each kind twice as long."""

    def __init__(self, float32: float, bf16: float) -> None:
        self.now = 0.0
        self._seconds = {False: float32, True: bf16}
        self._cold = {False, True}

    def try_step(self, bf16: bool) -> None:
        self.now += self._seconds[bf16] * (2 if bf16 in self._cold else 1)
        self._cold.discard(bf16)


@pytest.mark.parametrize(
    ("float32", "bf16", "said"),
    [
        (1.5, 2.0, "bf16 auto: a step takes 1.50 CPU seconds in float32 and 2.00 in bf16: float32"),
        (1.0, 0.95, "bf16 auto: a step takes 1.00 CPU seconds in float32 and 0.95 in bf16: float32"),
        (2.0, 0.5, "bf16 auto: a step takes 2.00 CPU seconds in float32 and 0.50 in bf16: bf16"),
    ],
)
def test_the_faster_is_chosen_and_said(float32: float, bf16: float, said: str) -> None:
    machine, lines = Machine(float32, bf16), []
    assert faster_at_bf16(machine, lines.append, lambda: machine.now) == said.endswith("bf16: bf16")
    assert lines == [said]


@pytest.mark.parametrize(
    ("asked", "device", "instructions", "answer"),
    [
        (True, "cpu", False, True),
        (False, "cuda", True, False),
        ("auto", "cuda", False, True),
        ("auto", "cpu", False, False),
        ("auto", "cpu", True, None),
    ],
)
def test_only_a_cpu_with_instructions_for_it_is_tried(
    monkeypatch: pytest.MonkeyPatch, asked: Bf16, device: str, instructions: bool, answer: bool | None
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: instructions)
    assert bf16_by_device(asked, torch.device(device)) is answer
