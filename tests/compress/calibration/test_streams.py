import pytest
import torch

from compress.calibration.sites import Site
from compress.calibration.streams import Stack
from compress.data.batches import collate
from compress.data.encoded import Encoded
from compress.model.quantized_modules import quantize_modules
from quant.scheme import Scheme

from .conftest import teacher_of

QKV = tuple(f"self_attn.{name}_proj" for name in "qkv")


def batch_of(examples: list[Encoded]):
    return collate(examples[:6], 1)


@pytest.mark.parametrize("kind", ["bart", "mbart"])
@pytest.mark.parametrize("quantized", [False, True])
def test_layer_by_layer_is_the_models_own_forward_pass(kind: str, quantized: bool, examples: list[Encoded]) -> None:
    model, batch = teacher_of(kind), batch_of(examples)
    if quantized:
        quantize_modules(model, Scheme.parse("4-8-8"))
    with torch.no_grad():
        expected = model.model(
            input_ids=batch.source_ids,
            attention_mask=batch.source_mask.long(),
            decoder_input_ids=batch.decoder_ids,
            use_cache=False,
        )
        memory = None
        for part in ("encoder", "decoder"):
            stack = Stack(model, part)
            states = stack.begin(batch)
            for index in range(3):
                states = stack.run(index, batch, states, memory)
            memory, before = stack.end(batch, states, memory), memory
    assert before is not None
    torch.testing.assert_close(before, expected.encoder_last_hidden_state, rtol=0, atol=0)
    torch.testing.assert_close(memory, expected.last_hidden_state, rtol=0, atol=0)


def test_the_sites_of_a_layer_that_normalizes_before_its_blocks(examples: list[Encoded]) -> None:
    assert sites("mbart", "encoder", examples) == [
        Site(QKV, False),
        Site(("self_attn.out_proj",), False, True, "final_layer_norm", "self_attn", 2),
        Site(("fc1",), False),
        Site(("fc2",), False, True, None, "", 0),
    ]


def test_the_sites_of_a_layer_that_normalizes_after_its_blocks(examples: list[Encoded]) -> None:
    assert sites("bart", "decoder", examples) == [
        Site(QKV, False),
        Site(("self_attn.out_proj",), False, True, "self_attn_layer_norm", "self_attn", 2),
        Site(("encoder_attn.q_proj",), False),
        Site(("encoder_attn.k_proj", "encoder_attn.v_proj"), True),
        Site(("encoder_attn.out_proj",), False, True, "encoder_attn_layer_norm", "encoder_attn", 2),
        Site(("fc1",), False),
        Site(("fc2",), False, True, "final_layer_norm", "", 0),
    ]


def sites(kind: str, part: str, examples: list[Encoded]) -> list[Site]:
    stack, batch = Stack(teacher_of(kind), part), batch_of(examples)
    memory = torch.randn(*batch.source_ids.shape, 32) if part == "decoder" else None
    with torch.no_grad():
        return stack.sites(1, batch, stack.begin(batch), memory)


@pytest.mark.parametrize("kind", ["bart", "mbart"])
def test_a_layer_goes_on_from_the_sum_of_a_block(kind: str, examples: list[Encoded]) -> None:
    stack, batch = Stack(teacher_of(kind), "decoder"), batch_of(examples)
    memory = torch.randn(*batch.source_ids.shape, 32)
    with torch.no_grad():
        states = stack.begin(batch)
        expected = stack.run(1, batch, states, memory)
        behind: list[Site] = []
        found = stack.sites(1, batch, states, memory)
        for site in found:
            if site.writes:
                inputs, residual = stack.residual(1, site, batch, states, memory, behind)
                whole = stack.sum(1, site, batch, states, memory, behind)
                module = stack.layers[1].get_submodule(site.names[0])
                torch.testing.assert_close(residual + module(inputs), whole, rtol=1e-5, atol=1e-5)
                states, behind = whole, [*behind, site]
        norm = found[-1].norm
        end = states if norm is None else stack.layers[1].get_submodule(norm)(states)
    torch.testing.assert_close(end, expected, rtol=1e-5, atol=1e-5)


def test_a_model_is_left_as_it_was(examples: list[Encoded]) -> None:
    model, batch = teacher_of("bart"), batch_of(examples)
    stack = Stack(model, "encoder")
    with torch.no_grad():
        states = stack.begin(batch)
        (first, *_) = stack.sites(0, batch, states, None)
        stack.outputs(0, first, batch, states, None, [])
        stack.inputs(0, first, batch, states, None, [])
    assert list(model.model.encoder.layers) == stack.layers
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert not any("forward" in vars(module) for module in model.modules())
