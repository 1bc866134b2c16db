"""Corrupted sources: what is masked, what stays, and that the same seed gives the same noise."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from compress.data.denoising import Denoising, infilled
from compress.data.encoded import Encoded

MASK = 0


@given(st.integers(0, 300), st.integers(0, 2**32))
def test_what_is_not_masked_keeps_its_order_and_its_number(length: int, seed: int) -> None:
    ids = list(range(1, length + 1))
    kept = [token for token in infilled(ids, MASK, random.Random(seed)) if token != MASK]
    assert kept == sorted(kept)
    assert len(kept) == length - int(0.3 * length)


def test_spans_have_three_tokens_on_average() -> None:
    masks = sum(infilled(range(1, 201), MASK, random.Random(seed)).count(MASK) for seed in range(200))
    assert 200 * 60 / masks == pytest.approx(3.0, abs=0.2)


@pytest.fixture
def noise(teachers: dict[str, str]) -> Denoising:
    return Denoising(AutoTokenizer.from_pretrained(teachers["bart"]), prefix=1, suffix=1)


@pytest.fixture
def example(teachers: dict[str, str]) -> Encoded:
    ids = AutoTokenizer.from_pretrained(teachers["bart"])("ab ab ab. cd cd cd? ef ef ef.")["input_ids"]
    return Encoded(ids, [2, *ids[:-1]], ids, truncated=False)


def test_the_target_and_the_affixes_stay(noise: Denoising, example: Encoded) -> None:
    for seed in range(20):
        noisy = noise(example, random.Random(seed))
        assert (noisy.label_ids, noisy.decoder_ids) == (example.label_ids, example.decoder_ids)
        assert (noisy.source_ids[0], noisy.source_ids[-1]) == (example.source_ids[0], example.source_ids[-1])
        assert len(noisy.source_ids) <= len(example.source_ids)
        assert noisy.source_ids != example.source_ids


def test_whole_sentences_change_places(noise: Denoising, example: Encoded) -> None:
    text = example.source_ids[1:-1]
    ends = [index + 1 for index, token in enumerate(text) if token in (noise._ends)]
    sentences = [text[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
    permuted = noise._permuted(text, random.Random(1))
    assert permuted != text
    assert sorted(permuted) == sorted(text)
    joined = " ".join(map(str, permuted))
    assert all(" ".join(map(str, sentence)) in joined for sentence in sentences)


def test_the_same_seed_gives_the_same_noise(noise: Denoising, example: Encoded) -> None:
    assert noise(example, random.Random("7/0/3")) == noise(example, random.Random("7/0/3"))
