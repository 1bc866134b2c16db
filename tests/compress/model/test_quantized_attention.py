import torch
from transformers import AttentionInterface

from compress.model.quantized_attention import ATTENTION


def test_attention_trains_on_the_values_it_is_evaluated_with() -> None:
    attention = AttentionInterface()[ATTENTION]
    query, key, value = torch.randn(2, 3, 5, 16), torch.randn(2, 3, 9, 16), torch.randn(2, 3, 9, 16)
    mask = torch.zeros(2, 1, 1, 9).masked_fill(torch.arange(9) >= 7, torch.finfo(torch.float32).min)
    module = torch.nn.Identity()
    trained, probabilities = attention(module.train(), query, key, value, mask, scaling=0.25)
    evaluated, _ = attention(module.eval(), query, key, value, mask, scaling=0.25)
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(2, 3, 5))
    # A probability on the edge between two codes may fall to either side: one step of its row is allowed.
    assert (trained - evaluated).abs().max() < float(value.abs().max()) / 127
