"""The naive loop does the work of the product's: after one step on one batch both have the same weights."""

from __future__ import annotations

import copy

import torch
from transformers import BartConfig, BartForConditionalGeneration

from benchmarks.naive_training import train
from compress.data.encoded import Encoded
from compress.model.quantized_modules import quantize_modules
from compress.model.student import build_student
from compress.training.loop import Trainer, TrainingSettings
from compress.training.losses import LayerMap, LossWeights
from quant.scheme import Layers, Scheme


def test_one_step_is_the_same_step() -> None:
    torch.manual_seed(0)
    sizes = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    config = BartConfig(vocab_size=20, d_model=16, encoder_layers=2, decoder_layers=2, dropout=0.0, **sizes)
    teacher = BartForConditionalGeneration(config)
    teacher.set_attn_implementation("eager")
    teacher.eval()
    ours = build_student(teacher, Layers(2, 1), "last")
    quantize_modules(ours, Scheme.parse("8-8-8"))
    naive, start = copy.deepcopy(ours), copy.deepcopy(ours.state_dict())
    examples = [Encoded([0, 7, 8, 2], [2, 0, 9], [0, 9, 2], False), Encoded([0, 5, 2], [2, 0, 6, 7], [0, 6, 7, 2], False)]
    layers = LayerMap([0, 1], [1])
    settings = TrainingSettings(
        epochs=1.0,
        max_steps=None,
        learning_rate=1e-3,
        schedule="linear",
        warmup=0.0,
        weight_decay=0.0,
        batch_tokens=100,
        accumulate=1,
        clip_norm=1.0,
        bf16=False,
        seed=0,
        validate_every=None,
        losses=LossWeights(),
    )
    told: list[float] = []
    train(naive, teacher, layers, examples, settings, 1, told.append)
    Trainer(ours, teacher, layers, examples, settings).train(lambda step: None, lambda: None, lambda report: None)
    assert len(told) == 1
    for name, tensor in ours.state_dict().items():
        assert torch.allclose(tensor, naive.state_dict()[name], atol=1e-4), name
    moved = [name for name, tensor in ours.state_dict().items() if (tensor - start[name]).abs().max() > 5e-4]
    assert moved
