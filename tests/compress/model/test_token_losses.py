"""The losses in chunks beside those of whole logits, which this file writes out in PyTorch's own terms."""

import math
from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from compress.model.quantized_modules import quantize_modules
from compress.model.token_losses import Divergence, Head, TokenWeights, chunk_tokens, head_of, token_losses
from quant.scheme import Scheme

from .conftest import BATCH, tiny

TOKENS, VOCABULARY, WIDTH = 37, 50, 16
ALL = TokenWeights(task=1.0, logits=0.8, kl=3.0, temperature=2.0)
CHUNK = 5
"""Seven chunks, and one of two tokens."""


def heads(seed: int = 0) -> tuple[Head, Head, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    ours = Head(drawn(TOKENS, WIDTH).requires_grad_(), drawn(VOCABULARY, WIDTH).requires_grad_(), drawn(VOCABULARY))
    theirs = Head(drawn(TOKENS, WIDTH), drawn(VOCABULARY, WIDTH), drawn(VOCABULARY))
    return ours, theirs, torch.randint(VOCABULARY, (TOKENS,), generator=generator)


def _kl(p: Tensor, q: Tensor) -> Tensor:
    return (p * (p / q).log()).sum(-1).mean()


def whole(ours: Head, labels: Tensor, theirs: Head | None, weights: TokenWeights) -> dict[str, Tensor]:
    logits = ours.states @ ours.weight.T + ours.bias
    losses = {"task": functional.cross_entropy(logits, labels)}
    if theirs is not None:
        other, hot = theirs.states @ theirs.weight.T + theirs.bias, weights.temperature
        losses["logits"] = (logits - other).square().mean()
        p, q = torch.softmax(other / hot, -1), torch.softmax(logits / hot, -1)
        m = (p + q) / 2
        kinds = {"forward-kl": _kl(p, q), "reverse-kl": _kl(q, p), "jensen-shannon": (_kl(p, m) + _kl(q, m)) / 2}
        losses["kl"] = hot**2 * kinds[weights.divergence]
    return {**losses, "total": sum(getattr(weights, name) * loss for name, loss in losses.items())}


@pytest.mark.parametrize("chunk", [1, CHUNK, None])
@pytest.mark.parametrize("factor", [1.0, 0.5])
@pytest.mark.parametrize("divergence", get_args(Divergence))
def test_losses_and_gradients_are_those_of_whole_logits(chunk: int | None, factor: float, divergence: Divergence) -> None:
    """Close and not equal: sums over tokens have another order."""
    ours, theirs, labels = heads()
    weights = replace(ALL, divergence=divergence)
    found, expected = token_losses(ours, labels, theirs, weights, chunk), whole(ours, labels, theirs, weights)
    gradients = []
    for losses in (found, expected):
        ours.states.grad = ours.weight.grad = None
        torch.autograd.backward(losses["total"] * factor)
        gradients.append((ours.states.grad, ours.weight.grad))
    assert set(found) == set(expected)
    for name, loss in expected.items():
        torch.testing.assert_close(found[name].detach(), loss.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-6)


def test_a_token_has_the_same_gradient_in_any_chunk() -> None:
    ours, theirs, labels = heads()
    found = []
    for chunk in (CHUNK, None):
        ours.states.grad = None
        token_losses(ours, labels, theirs, ALL, chunk)["total"].backward()
        found.append(ours.states.grad)
    torch.testing.assert_close(found[0], found[1], rtol=1e-6, atol=1e-8)


def test_a_chunk_is_bounded_by_bytes_and_not_so_small_that_reading_the_weight_costs_more() -> None:
    assert [chunk_tokens(vocabulary) for vocabulary in (250_054, 50_265, 8_192)] == [128, 333, 2_048]


def test_without_gradients_the_losses_are_the_same() -> None:
    ours, theirs, labels = heads()
    expected = token_losses(ours, labels, theirs, ALL, CHUNK)
    with torch.inference_mode():
        assert token_losses(ours, labels, theirs, ALL, CHUNK) == expected


def test_only_what_needs_a_gradient_gets_one() -> None:
    ours, theirs, labels = heads()
    fixed = ours._replace(weight=ours.weight.detach())
    token_losses(fixed, labels, theirs, ALL, CHUNK)["total"].backward()
    assert ours.states.grad is not None
    assert ours.weight.grad is None


def test_bf16_is_as_close_as_bf16_can_be() -> None:
    ours, theirs, labels = heads()
    narrow = [Head(head.states.to(torch.bfloat16), head.weight.to(torch.bfloat16), head.bias) for head in (ours, theirs)]
    expected = whole(ours, labels, theirs, ALL)
    found = token_losses(narrow[0], labels, narrow[1], ALL, CHUNK)
    assert found["total"].item() == pytest.approx(expected["total"].item(), rel=0.02)
    found["total"].backward()
    gradient = ours.weight.grad
    ours.weight.grad = None
    expected["total"].backward()
    assert functional.cosine_similarity(gradient.flatten(), ours.weight.grad.flatten(), 0) > 0.999


def test_divergence_by_hand() -> None:
    # Two tokens at temperature 2: the teacher has 2 ln 3 against 0, so 3/4 and 1/4, the student even odds; the third agrees.
    ours = Head(torch.zeros(3, 2), torch.eye(2), torch.zeros(2))
    theirs = ours._replace(states=torch.tensor([[2 * math.log(3), 0.0], [2 * math.log(3), 0.0], [0.0, 0.0]]))
    weights = TokenWeights(task=0.0, kl=0.5, temperature=2.0)
    losses = token_losses(ours, torch.tensor([1, 0, 1]), theirs, weights)
    by_hand = 4 * (2 / 3) * (0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5))
    assert set(losses) == {"total", "task", "kl"}
    assert float(losses["kl"]) == pytest.approx(by_hand, rel=1e-6)
    assert float(losses["total"]) == pytest.approx(by_hand / 2, rel=1e-6)


def test_temperature_leaves_the_size_of_the_gradient() -> None:
    gradients = []
    for temperature in (10.0, 100.0):
        ours = Head(torch.zeros(1, 2, requires_grad=True), torch.eye(2), torch.zeros(2))
        theirs = ours._replace(states=torch.tensor([[1.0, 0.0]]))
        weights = TokenWeights(task=0.0, kl=1.0, temperature=temperature)
        token_losses(ours, torch.tensor([1]), theirs, weights)["total"].backward()
        gradients.append(ours.states.grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0.01, atol=0)


@pytest.mark.parametrize("bits", [None, "8-8-8", "2-2-16"])
def test_the_head_gives_the_logits_of_the_model(bits: str | None) -> None:
    model = tiny()
    model.final_logits_bias.normal_()
    if bits is not None:
        quantize_modules(model, Scheme.parse(bits))
    model.train()
    for module in model.modules():
        if isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
    inputs = {"input_ids": BATCH.source_ids, "attention_mask": BATCH.source_mask.long()}
    inputs |= {"decoder_input_ids": BATCH.decoder_ids, "use_cache": False}
    states, target = model.model(**inputs).last_hidden_state, BATCH.target_mask
    torch.testing.assert_close(head_of(model, states[target], bf16=False).logits(), model(**inputs).logits[target])
