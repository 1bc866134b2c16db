"""What error compensation makes of each matrix alone, beside rounding to the nearest."""

import pytest
import torch

from compress.calibration.compensation import compensated
from compress.model.sensitivity import measure_sensitivity
from quant.layout import block_of
from quant.numerics import fake_quantize
from quant.scheme import Scheme
from tests.compress.model.conftest import BATCH, tiny


def inputs_of(model, name: str) -> torch.Tensor:
    """What a linear layer is given for the real tokens of the batch [tokens, columns]."""
    given = []
    handle = model.get_submodule(name).register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    mask = BATCH.source_mask.long()
    with torch.no_grad():
        model.eval()(input_ids=BATCH.source_ids, attention_mask=mask, decoder_input_ids=BATCH.decoder_ids)
    handle.remove()
    of_source = ".encoder." in name or name.endswith(("encoder_attn.k_proj", "encoder_attn.v_proj"))
    return given[0][BATCH.source_mask if of_source else BATCH.target_mask]


@pytest.mark.parametrize("kind", ["bart", "mbart"])
@pytest.mark.parametrize("bits", [2, 4])
def test_outputs_are_nearer_than_of_rounding_in_every_matrix(kind: str, bits: int) -> None:
    model, advanced = tiny(kind), []
    at_bits = compensated(model, [BATCH, BATCH], "row", advanced.append)
    assert sum(advanced) == len(model.model.encoder.layers) + len(model.model.decoder.layers)
    matrices = {name: each.detach() for name, each in model.named_parameters() if each.ndim == 2 and block_of(name)}
    assert len(matrices) == 6 * len(model.model.encoder.layers) + 10 * len(model.model.decoder.layers)
    for name, weight in matrices.items():
        inputs = inputs_of(model, name.removesuffix(".weight"))
        lost = [
            float((inputs @ (values - weight).T).square().sum())
            for values in (at_bits(name, bits), fake_quantize(weight, bits, "row"))
        ]
        assert lost[0] <= 1.001 * lost[1], name
        assert len(at_bits(name, bits)[0].unique()) <= 2**bits - 1


def test_a_sensitivity_is_of_the_values_it_is_given() -> None:
    model = tiny()
    values = dict(model.named_parameters())

    def loss(batch):
        def of(model) -> float:
            with torch.no_grad():
                return float(model(input_ids=batch.source_ids, decoder_input_ids=batch.decoder_ids).logits.abs().mean())

        return of

    def silent(name: str, bits: int) -> torch.Tensor:
        return values[name].detach() * (0.0 if bits == 2 else 1.0)

    measured = measure_sensitivity(model, Scheme.parse("8-8-8"), [BATCH], loss, at_bits=silent)
    rounded = measure_sensitivity(model, Scheme.parse("8-8-8"), [BATCH], loss)
    assert measured.loss == rounded.loss
    block = "encoder.layers.0.feed_forward"
    assert abs(measured.increase[block][4]) < abs(rounded.increase[block][4]) < abs(measured.increase[block][2])
