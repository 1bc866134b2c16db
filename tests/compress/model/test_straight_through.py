import torch

from compress.model.straight_through import fake_quantize_activation, fake_quantize_weight
from quant.numerics import dequantize, fake_quantize, quantize_activation


def test_a_weight_is_quantized_forward_and_passes_its_gradient_inside_the_clip_range() -> None:
    weight = torch.tensor([[0.5, -1.0, 2.6, -3.0]], requires_grad=True)
    values = fake_quantize_weight(weight, 8, "row")
    (values * torch.tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()
    assert torch.equal(values.detach(), fake_quantize(weight, 8, "row"))
    assert weight.grad is not None
    assert weight.grad.tolist() == [[1.0, 2.0, 0.0, 0.0]]


def test_an_activation_passes_its_whole_gradient() -> None:
    tokens = torch.tensor([[0.1, -4.0, 2.0], [0.0, 0.0, 0.0]], requires_grad=True)
    values = fake_quantize_activation(tokens)
    values.sum().backward()
    assert torch.equal(values.detach(), dequantize(quantize_activation(tokens.detach())))
    assert tokens.grad is not None
    assert torch.equal(tokens.grad, torch.ones_like(tokens))
