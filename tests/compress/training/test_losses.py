"""Golden values by hand, and the promise that padding never counts."""

from types import SimpleNamespace

import pytest
import torch

from compress.data.batches import Batch, collate
from compress.data.encoded import Encoded
from compress.model.quantized_modules import quantize_modules
from compress.model.student import build_student
from compress.model.teacher import load_teacher
from compress.model.token_losses import Head
from compress.model.told import Told
from compress.training.losses import LayerMap, LossWeights, Outputs, joint_losses, masked_mse, outputs_of
from quant.scheme import Layers, Scheme


def test_masked_mse_by_hand() -> None:
    ours, theirs = torch.tensor([[1.0, 2.0], [3.0, 9.0]]), torch.tensor([[0.0, 0.0], [3.0, 0.0]])
    mask = torch.tensor([[True, True], [True, False]])
    assert float(masked_mse(ours, theirs, mask)) == pytest.approx((1 + 4 + 0) / 3)


def test_masked_mse_of_nothing_is_zero() -> None:
    assert float(masked_mse(torch.ones(2), torch.zeros(2), torch.zeros(2, dtype=torch.bool))) == 0.0


def test_an_infinite_value_under_the_mask_does_not_spoil_the_mean() -> None:
    ours, theirs = torch.tensor([1.0, torch.inf]), torch.tensor([0.0, 0.0])
    assert float(masked_mse(ours, theirs, torch.tensor([True, False]))) == 1.0


def output(value: float, batch: Batch, layers: int) -> Outputs:
    """Model outputs filled with one value: logits over 2 tokens, `layers` layers of 1 head and width 2."""
    rows, source = batch.source_mask.shape
    target = batch.labels.shape[1]
    logits = torch.full((int(batch.target_mask.sum()), 2), value)
    states = SimpleNamespace(
        encoder_attentions=[torch.full((rows, 1, source, source), value)] * layers,
        decoder_attentions=[torch.full((rows, 1, target, target), value)] * layers,
        cross_attentions=[torch.full((rows, 1, target, source), value)] * layers,
        encoder_hidden_states=[torch.full((rows, source, 2), value)] * (layers + 1),
        decoder_hidden_states=[torch.full((rows, target, 2), value)] * (layers + 1),
        encoder_last_hidden_state=torch.full((rows, source, 2), value),
    )
    return Outputs(states, Head(logits, torch.eye(2), torch.zeros(2)))


def test_every_term_by_hand() -> None:
    batch = collate([Encoded([4, 5], [0], [1], False), Encoded([4], [0, 1], [1, 0], False)], pad_id=1)
    weights = LossWeights(task=1.0, logits=2.0, attention=0.5, hidden=0.25)
    losses = joint_losses(output(3.0, batch, 2), output(1.0, batch, 3), batch, weights, LayerMap([0, 2], [0, 2]))
    assert float(losses["task"]) == pytest.approx(0.6931472)  # two equal logits: ln 2
    assert float(losses["logits"]) == pytest.approx(4.0)
    assert float(losses["attention"]) == pytest.approx(6 * 4.0)  # three kinds of maps, two layers
    assert float(losses["hidden"]) == pytest.approx(7 * 4.0)  # (embeddings + two layers) twice, and the encoder's last state
    assert float(losses["total"]) == pytest.approx(0.6931472 + 2 * 4.0 + 0.5 * 24.0 + 0.25 * 28.0)


def test_terms_of_weight_zero_are_left_out() -> None:
    batch = collate([Encoded([4, 5], [0], [1], False)], pad_id=1)
    weights = LossWeights(logits=0.0, attention=0.0, hidden=0.0)
    assert not weights.needs_teacher
    assert set(joint_losses(output(3.0, batch, 1), None, batch, weights, LayerMap([0], [0]))) == {"total", "task"}


def test_padding_never_counts(teachers: dict[str, str]) -> None:
    teacher = load_teacher(teachers["mbart50"], Told("translation", ("de_DE", "en_XX"))).model
    student = build_student(teacher, Layers(2, 1)).train()
    for module in student.modules():
        if isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
    quantize_modules(student, Scheme.parse("8-8-8"))
    short = Encoded([8, 9, 2], [2, 7], [7, 2], False)
    tight, padded = collate([short], pad_id=1), collate([short, Encoded([8] * 9, [2] * 7, [7] * 7, False)], pad_id=1)
    padded = Batch(*(getattr(padded, name)[:1] for name in ("source_ids", "source_mask", "decoder_ids", "labels")))
    measured = []
    for batch in (tight, padded):
        ours, theirs = (outputs_of(model, batch, LossWeights(), bf16=False) for model in (student, teacher))
        losses = joint_losses(ours, theirs, batch, LossWeights(), LayerMap([0, 2], [2]))
        measured.append({name: loss.item() for name, loss in losses.items()})
    assert measured[1] == pytest.approx(measured[0], rel=1e-4)


def test_the_heads_of_a_pruned_attention_are_compared_with_the_same_heads_of_the_teacher() -> None:
    batch = collate([Encoded([4, 5], [0], [1], False)], pad_id=1)
    student, teacher = output(0.0, batch, 2), output(0.0, batch, 3)
    student.states.decoder_attentions = [torch.zeros(1, 2, 1, 1)] * 2
    student.states.cross_attentions = [torch.zeros(1, 2, 1, 2), torch.full((1, 1, 1, 2), 5.0)]
    teacher.states.decoder_attentions = [torch.zeros(1, 2, 1, 1)] * 3
    teacher.states.cross_attentions = [torch.zeros(1, 2, 1, 2)] * 2 + [
        torch.tensor([3.0, 7.0]).view(1, 2, 1, 1).expand(1, 2, 1, 2)
    ]
    layers = LayerMap([0, 2], [0, 2], {"decoder.layers.1.encoder_attn": [1]})
    losses = joint_losses(student, teacher, batch, LossWeights(), layers)
    assert float(losses["attention"]) == pytest.approx((5.0 - 7.0) ** 2)
