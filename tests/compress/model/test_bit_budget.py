"""Where bytes are spent."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.model.bit_budget import BudgetError, spend
from quant.file_size import file_bytes
from quant.layout import Architecture, blocks, float_bytes
from quant.scheme import Scheme
from quant.structure import Structure

from .conftest import tiny

ARCHITECTURE = Architecture.from_config(tiny().config.to_dict())
BLOCKS = blocks(ARCHITECTURE)
SCHEME = Scheme.parse("2-2-8")
TEACHER = 10 * float_bytes(ARCHITECTURE)
SMALLEST = file_bytes(ARCHITECTURE, SCHEME)
LARGEST = file_bytes(ARCHITECTURE, SCHEME, Structure(dict.fromkeys(BLOCKS, 8)))


def losses(**of_blocks: tuple[float, float]) -> dict[str, dict[int, float]]:
    """Losses at 4 and 2 bits: those given, by the names of blocks with __ for a dot; 0.1 and 0.2 elsewhere."""
    given = {name.replace("__", "."): values for name, values in of_blocks.items()}
    pairs = {block: given.get(block, (0.1, 0.2)) for block in BLOCKS}
    return {block: {4: four, 2: two} for block, (four, two) in pairs.items()}


def spent(increase: dict[str, dict[int, float]], bytes_allowed: int, scheme: Scheme = SCHEME) -> dict[str, int]:
    return dict(spend(increase, ARCHITECTURE, scheme, {}, TEACHER, TEACHER / bytes_allowed).block_bits)


def test_the_most_sensitive_block_gets_the_bits_that_there_are() -> None:
    block = "decoder.layers.0.encoder_attn"
    just_enough = file_bytes(ARCHITECTURE, SCHEME, Structure({block: 8}))
    assert spent(losses(decoder__layers__0__encoder_attn=(5.0, 9.0)), just_enough) == {block: 8}


def test_four_bits_suffice_where_eight_save_nothing_more() -> None:
    assert spent(losses(**{name.replace(".", "__"): (0.0, 0.2) for name in BLOCKS}), LARGEST) == dict.fromkeys(BLOCKS, 4)


def test_eight_bits_are_reached_where_four_help_nothing() -> None:
    increase = losses(**{name.replace(".", "__"): (0.2, 0.2) for name in BLOCKS})
    assert spent(increase, LARGEST) == dict.fromkeys(BLOCKS, 8)


def test_bits_that_save_nothing_are_not_spent() -> None:
    assert spent(losses(**{name.replace(".", "__"): (0.0, -0.1) for name in BLOCKS}), LARGEST) == {}


def test_bits_of_the_scheme_are_not_named() -> None:
    increase = losses(encoder__layers__0__feed_forward=(0.0, 0.0))
    assert spent(increase, 2 * LARGEST, Scheme.parse("8-2-8")) == {"encoder.layers.0.feed_forward": 2}


def test_removed_heads_stay_removed_and_make_room() -> None:
    heads = {"encoder.layers.0.self_attn": 1}
    structure = spend(losses(), ARCHITECTURE, SCHEME, heads, TEACHER, TEACHER / SMALLEST)
    assert structure.heads == heads
    assert structure.block_bits


def test_a_ratio_out_of_reach_is_refused_with_the_largest_that_is_not() -> None:
    with pytest.raises(BudgetError, match=r"target_ratio is 1000x: .* is (\S+)x smaller, which is the most") as refused:
        spend(losses(), ARCHITECTURE, SCHEME, {}, TEACHER, 1000.0)
    most = float(str(refused.value).split("x smaller")[0].split()[-1])
    assert TEACHER / SMALLEST - 0.1 < most <= TEACHER / SMALLEST
    spend(losses(), ARCHITECTURE, SCHEME, {}, TEACHER, most)


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=len(BLOCKS), max_size=len(BLOCKS)),
    st.floats(SMALLEST, LARGEST * 1.1),
)
def test_the_file_is_never_larger_than_the_budget(pairs: list[tuple[float, float]], budget: float) -> None:
    increase = {block: {4: four, 2: two} for block, (four, two) in zip(BLOCKS, pairs, strict=True)}
    structure = spend(increase, ARCHITECTURE, SCHEME, {}, TEACHER, TEACHER / budget)
    assert file_bytes(ARCHITECTURE, SCHEME, structure) <= budget + 1
