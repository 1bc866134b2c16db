"""What a measurement says, on models in which one block alone matters."""

import pytest
import torch

from compress.data.batches import Batch
from compress.model.sensitivity import losses_measured, measure_sensitivity
from quant.layout import Architecture, blocks
from quant.numerics import fake_quantize
from quant.scheme import Scheme

from .conftest import BATCH, tiny

SCHEME = Scheme.parse("2-8-8")


def distance_from_zero(batch: Batch):
    """Mean absolute logit: easy to compute again by hand."""

    def loss(model) -> float:
        with torch.no_grad():
            logits = model(input_ids=batch.source_ids, decoder_input_ids=batch.decoder_ids).logits
        return float(logits.abs().mean())

    return loss


def alone(block: str):
    """A model in which every other block adds nothing to the residual stream, whatever its bits."""
    model = tiny("mbart")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("out_proj.weight", "fc2.weight")) and not name.startswith(f"model.{block}"):
                parameter.zero_()
    return model


def test_only_the_block_that_matters_is_sensitive() -> None:
    block = "decoder.layers.0.encoder_attn"
    measured = measure_sensitivity(alone(block), SCHEME, [BATCH], distance_from_zero)
    assert set(measured.increase) == set(blocks(Architecture.from_config(tiny("mbart").config.to_dict())))
    assert {name for name, by_bits in measured.increase.items() if any(by_bits.values())} == {block}


@pytest.mark.parametrize("bits", [2, 4])
def test_an_increase_is_the_loss_with_this_block_at_fewer_bits_less_the_loss_with_all_at_eight(bits: int) -> None:
    def quantized(bits_of_fc: int):
        model = tiny()
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2:
                of_block = bits_of_fc if name.startswith("model.encoder.layers.0.fc") else 8
                parameter.data = fake_quantize(parameter.data, of_block, "row")
        return distance_from_zero(BATCH)(model)

    measured = measure_sensitivity(tiny(), SCHEME, [BATCH, BATCH], distance_from_zero)
    assert measured.loss == pytest.approx(quantized(8))
    assert measured.increase["encoder.layers.0.feed_forward"][bits] == pytest.approx(quantized(bits) - quantized(8))


def test_the_model_stays_as_it_was_and_every_loss_is_counted() -> None:
    model, counted = tiny().train(), []
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    measure_sensitivity(model, SCHEME, [BATCH, BATCH], distance_from_zero, counted.append)
    assert sum(counted) == losses_measured(blocks=5, batches=2) == 22
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
