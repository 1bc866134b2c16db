"""Which heads are removed, and what is left when they are."""

import pytest
import torch

from compress.data.batches import Batch
from compress.model.heads import (
    PruningError,
    attentions,
    heads_to_keep,
    keep_heads,
    live_heads,
    prune_heads,
    resize_heads,
    score_heads,
)

from .conftest import BATCH, batch, tiny

BLOCKS = ["encoder.layers.0.self_attn", "decoder.layers.0.self_attn", "decoder.layers.0.encoder_attn"]


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        mask = BATCH.source_mask.long()
        return model(input_ids=BATCH.source_ids, attention_mask=mask, decoder_input_ids=BATCH.decoder_ids).logits


def silence(model, block: str, head: int) -> None:
    """Make what one head gives to the rest of the model zero."""
    attention = attentions(model)[block]
    width = attention.head_dim
    with torch.no_grad():
        attention.out_proj.weight[:, head * width : (head + 1) * width] = 0.0


@pytest.mark.parametrize("kind", ["bart", "mbart"])
@pytest.mark.parametrize("block", BLOCKS)
def test_a_head_that_gives_nothing_is_the_one_removed_and_not_missed(kind: str, block: str) -> None:
    model = tiny(kind)
    silence(model, block, 2)
    before = logits(model)
    kept = prune_heads(model, score_heads(model, [BATCH]), share=1 / 12)
    assert kept == {block: [0, 1, 3]}
    assert attentions(model)[block].q_proj.weight.shape == (12, 16)
    torch.testing.assert_close(logits(model), before)


def test_heads_kept_have_their_own_rows_and_columns() -> None:
    model, whole = tiny(), tiny()
    keep_heads(model, {BLOCKS[0]: [1, 3]})
    rows = [4, 5, 6, 7, 12, 13, 14, 15]
    pruned, original = attentions(model)[BLOCKS[0]], attentions(whole)[BLOCKS[0]]
    for name in ("q_proj", "k_proj", "v_proj"):
        assert torch.equal(getattr(pruned, name).weight, getattr(original, name).weight[rows])
        assert torch.equal(getattr(pruned, name).bias, getattr(original, name).bias[rows])
    assert torch.equal(pruned.out_proj.weight, original.out_proj.weight[:, rows])
    assert torch.equal(pruned.out_proj.bias, original.out_proj.bias)
    assert pruned.num_heads == 2


def test_a_pruned_model_generates_with_its_cache() -> None:
    model = tiny()
    resize_heads(model, {BLOCKS[0]: 3, BLOCKS[1]: 1, BLOCKS[2]: 2})
    arguments = {"max_new_tokens": 6, "num_beams": 2, "attention_mask": BATCH.source_mask.long()}
    cached, plain = (model.generate(BATCH.source_ids, use_cache=cache, **arguments) for cache in (True, False))
    assert cached.tolist() == plain.tolist()


def test_the_score_is_the_gradient_of_a_gate_taken_by_differences() -> None:
    """|∂L/∂ξ| of both examples, by central differences in float64, divided by the norm over the attention's heads."""
    model = tiny(heads=2).double()
    examples = [batch(([0, 5, 9, 12, 2], [0, 7, 2])), batch(([0, 8, 2], [0, 4, 11, 6, 2]))]
    block, width, step = BLOCKS[2], 8, 1e-5
    columns = attentions(model)[block].out_proj.weight

    def loss(one: Batch, head: int, gate: float) -> float:
        with torch.no_grad():
            columns[:, head * width : (head + 1) * width] *= gate
            logits = model(input_ids=one.source_ids, decoder_input_ids=one.decoder_ids).logits
            columns[:, head * width : (head + 1) * width] /= gate
        return float(torch.nn.functional.cross_entropy(logits[0], one.labels[0], reduction="sum"))

    slopes = [
        sum(abs(loss(one, head, 1 + step) - loss(one, head, 1 - step)) / (2 * step) for one in examples) for head in (0, 1)
    ]
    expected = torch.tensor(slopes) / (slopes[0] ** 2 + slopes[1] ** 2) ** 0.5
    torch.testing.assert_close(score_heads(model, [BATCH])[block], expected, rtol=1e-4, atol=0)


def test_scoring_leaves_the_model_as_it_was() -> None:
    model = tiny().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    scores = score_heads(model, [BATCH, BATCH])
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert scores[BLOCKS[0]].norm() == pytest.approx(1.0)
    torch.testing.assert_close(scores[BLOCKS[0]], score_heads(model, [BATCH])[BLOCKS[0]])


def test_lowest_scores_go_first_and_the_best_head_of_an_attention_stays() -> None:
    scores = {"a": torch.tensor([0.1, 0.2]), "b": torch.tensor([0.9, 0.3, 0.5])}
    assert heads_to_keep(scores, 0.2) == {"a": [1]}
    assert heads_to_keep(scores, 0.4) == {"a": [1], "b": [0, 2]}
    assert heads_to_keep(scores, 0.6) == {"a": [1], "b": [0]}
    assert heads_to_keep(scores, 0.0) == {}


def test_a_share_that_would_empty_an_attention_is_refused() -> None:
    with pytest.raises(PruningError, match=r"prune_heads is 0.8, 4 of 5 heads: 0.6 is the most"):
        heads_to_keep({"a": torch.ones(2), "b": torch.ones(3)}, 0.8)


def test_heads_of_zeros_are_not_alive() -> None:
    model = tiny("bart")
    assert live_heads(model) == {}
    for block, heads in (("encoder.layers.0.self_attn", [0]), ("decoder.layers.0.encoder_attn", [0, 1, 2, 3])):
        attention = attentions(model)[block]
        for head in heads[: attention.num_heads]:
            silence(model, block, head)
            rows = slice(head * attention.head_dim, (head + 1) * attention.head_dim)
            with torch.no_grad():
                attention.v_proj.weight[rows] = 0.0
                attention.v_proj.bias[rows] = 0.0
    silence(model, "decoder.layers.0.self_attn", 1)  # what it adds is nothing, and it can still learn
    left = list(range(1, attentions(model)["encoder.layers.0.self_attn"].num_heads))
    assert live_heads(model) == {"encoder.layers.0.self_attn": left, "decoder.layers.0.encoder_attn": [0]}
