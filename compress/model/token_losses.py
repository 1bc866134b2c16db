"""Losses on the logits of the next token, in chunks over tokens.

Logits are by far the largest tensors of a step: 2,048 tokens of a vocabulary of 250,054 take 2 GB in float32, and the
student's, the teacher's, their softmaxes and gradients are each as large. Here they exist for a chunk of tokens at a time,
and never for padding: a chunk's logits, losses and gradients are computed together, and its gradients with respect to the
decoder's states and the head's weight are added to what the chunks before it gave. No product is computed twice.

Sums over tokens, the gradient of the weight among them, are added up in another order than for all tokens at once, and
differ from those in the last bits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from compress.model.quantized_modules import QuantizedLinear

_CHUNK_BYTES = 2**26
"""Of the logits of a chunk in float32; some six tensors of this size exist at a time."""
_FEWEST_TOKENS = 128
"""Of a chunk: the products of fewer are bound by reading the head's weight, and with 67 took a fifth longer."""


Divergence = Literal["forward-kl", "reverse-kl", "jensen-shannon"]
"""Between the next token's probabilities: KL(theirs || ours), KL(ours || theirs), or the mean of both models' KL to the mean
of their probabilities (Agarwal et al. 2024, arXiv 2306.13649, with β = ½)."""


@dataclass(frozen=True)
class TokenWeights:
    """Weights of the terms in `total`; `temperature` is of both softmaxes of `kl`, and `divergence` what it is."""

    task: float = 1.0
    logits: float = 0.0
    kl: float = 0.0
    temperature: float = 1.0
    divergence: Divergence = "forward-kl"


class Head(NamedTuple):
    """What logits are made of: `states` [tokens, width] by `weight` [vocabulary, width], plus `bias` [vocabulary]."""

    states: Tensor
    weight: Tensor
    bias: Tensor

    def logits(self, tokens: slice = slice(None)) -> Tensor:
        """Float32 [tokens, vocabulary]."""
        return functional.linear(self.states[tokens], self.weight).float().add_(self.bias)


def head_of(model: Any, states: Tensor, bf16: bool) -> Head:
    """The head of a BART or mBART on some of the decoder's states [tokens, width]; quantized ones as in training.

    With `bf16` the product is computed in bfloat16.
    """
    head = model.lm_head
    states, weight = head.operands(states) if isinstance(head, QuantizedLinear) else (states, head.weight)
    dtype = torch.bfloat16 if bf16 else torch.float32
    return Head(states.to(dtype), weight.to(dtype), model.final_logits_bias.squeeze(0))


def token_losses(
    ours: Head, labels: Tensor, theirs: Head | None, weights: TokenWeights, chunk: int | None = None
) -> dict[str, Tensor]:
    """Means over tokens as scalars: `task`, the cross-entropy with `labels` [tokens]; and, where `theirs` is there and they
    are weighed, `logits`, the MSE between the logits, and `kl`, T² times the divergence at temperature T.

    `total` is their weighted sum and the only one with gradients, to our states and weight. `chunk` is how many tokens are
    computed at a time.
    """
    losses = _Chunked(ours.bias, labels, theirs, weights, chunk or chunk_tokens(len(ours.bias)))
    if torch.is_grad_enabled() and (ours.states.requires_grad or ours.weight.requires_grad):
        total, *terms = _WithGradients.apply(ours.states, ours.weight, losses)  # type: ignore[no-untyped-call]
    else:
        total, *terms = losses(ours.states, ours.weight)
    return {"total": total, **dict(zip(losses.names, terms, strict=True))}


def chunk_tokens(vocabulary: int) -> int:
    """How many tokens are computed at a time where nothing else is asked for."""
    return max(_FEWEST_TOKENS, _CHUNK_BYTES // (4 * vocabulary))


def terms_of(logits: Tensor, labels: Tensor, theirs: Tensor | None, weights: TokenWeights) -> dict[str, Tensor]:
    """The terms of `token_losses`, as sums over tokens, of whole logits [tokens, vocabulary] with their own gradients."""
    terms = {"task": functional.cross_entropy(logits, labels, reduction="sum")}
    if theirs is not None and weights.logits:
        terms["logits"] = functional.mse_loss(logits, theirs, reduction="sum") / logits.shape[1]
    if theirs is not None and weights.kl:
        temperature = weights.temperature
        log_ours, log_theirs = (functional.log_softmax(each / temperature, dim=-1) for each in (logits, theirs))
        terms["kl"] = _divergence(log_ours, log_theirs, weights.divergence) * temperature**2
    return terms


def _divergence(log_ours: Tensor, log_theirs: Tensor, kind: Divergence) -> Tensor:
    """The sum over tokens, of log-probabilities [tokens, vocabulary]."""
    if kind == "forward-kl":
        return _kl(log_theirs, log_ours)
    if kind == "reverse-kl":
        return _kl(log_ours, log_theirs)
    log_mean = torch.logaddexp(log_ours, log_theirs) - math.log(2)
    return (_kl(log_ours, log_mean) + _kl(log_theirs, log_mean)) / 2


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q)."""
    return functional.kl_div(log_q, log_p, reduction="sum", log_target=True)


def weighed(terms: Mapping[str, Tensor], weights: TokenWeights) -> Tensor:
    """The weighted sum of terms."""
    return torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum()


class _Chunked:
    """The losses chunk by chunk: `total` and the terms, in the order of `names`."""

    def __init__(self, bias: Tensor, labels: Tensor, theirs: Head | None, weights: TokenWeights, chunk: int) -> None:
        self._bias = bias
        self._labels = labels
        self._theirs = theirs
        self._weights = weights
        self._chunk = chunk
        self.names = ["task", *(name for name in ("logits", "kl") if theirs is not None and getattr(weights, name))]

    def __call__(self, states: Tensor, weight: Tensor, gradients: tuple[Tensor | None, Tensor | None] | None = None) -> Any:
        """`gradients` take those of `total`, added to what is there: like states, and like the weight in float32."""
        count = len(self._labels)
        sums = dict.fromkeys(self.names, torch.zeros((), device=states.device))
        for start in range(0, count, self._chunk):
            tokens = slice(start, start + self._chunk)
            ours, labels = Head(states, weight, self._bias).logits(tokens), self._labels[tokens]
            theirs = None if self._theirs is None else self._theirs.logits(tokens)
            with torch.set_grad_enabled(gradients is not None):
                terms = terms_of(ours.requires_grad_(gradients is not None), labels, theirs, self._weights)
                if gradients is not None:
                    (by_logits,) = torch.autograd.grad(weighed(terms, self._weights) / count, ours)
                    _add_gradients(gradients, by_logits.to(weight.dtype), states, weight, tokens)
            sums = {name: sums[name] + term.detach() for name, term in terms.items()}
        means = {name: total / count for name, total in sums.items()}
        return weighed(means, self._weights), *means.values()


def _add_gradients(
    gradients: tuple[Tensor | None, Tensor | None], by_logits: Tensor, states: Tensor, weight: Tensor, tokens: slice
) -> None:
    by_states, by_weight = gradients
    if by_states is not None:
        by_states[tokens] = by_logits @ weight
    if by_weight is not None and weight.dtype == torch.float32:
        by_weight.addmm_(by_logits.T, states[tokens])
    elif by_weight is not None:
        by_weight += by_logits.T @ states[tokens]


class _WithGradients(torch.autograd.Function):
    """Gradients are computed with the losses, so that no logits wait for the backward pass."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, losses: _Chunked) -> Any:
        by_states = torch.empty_like(states) if ctx.needs_input_grad[0] else None
        by_weight = torch.zeros_like(weight, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        total, *terms = losses(states, weight, (by_states, by_weight))
        ctx.save_for_backward(by_states, by_weight)
        ctx.mark_non_differentiable(*terms)
        return total, *terms

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        # In place: it is the last that is seen of them.
        by_states, by_weight = (None if each is None else each.mul_(gradients[0]) for each in ctx.saved_tensors)
        return by_states, by_weight, None
