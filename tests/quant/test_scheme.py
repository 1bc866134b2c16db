from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.scheme import ACTIVATION_BITS, WEIGHT_BITS, Layers, NotationError, Scheme

schemes = st.builds(
    Scheme,
    st.sampled_from(WEIGHT_BITS),
    st.sampled_from(WEIGHT_BITS),
    st.sampled_from(ACTIVATION_BITS),
    st.sampled_from(("row", "matrix")),
)


@given(schemes)
def test_a_scheme_reads_back_as_it_prints(scheme: Scheme) -> None:
    assert Scheme.parse(str(scheme)) == scheme


@given(st.integers(1, 999), st.integers(1, 999))
def test_layers_read_back_as_they_print(encoder: int, decoder: int) -> None:
    assert Layers.parse(f"{encoder}-{decoder}") == Layers(encoder, decoder)
    assert str(Layers(encoder, decoder)) == f"{encoder}-{decoder}"


def test_row_is_the_default_and_is_not_printed() -> None:
    assert Scheme.parse("2-4-8") == Scheme(2, 4, 8, "row")
    assert str(Scheme.parse("2-4-8/row")) == "2-4-8"
    assert str(Scheme.parse(" 2-4-8/matrix\n")) == "2-4-8/matrix"


def test_sixteen_bits_of_activation_are_off() -> None:
    assert Scheme.parse("2-2-8").quantizes_activations
    assert not Scheme.parse("2-2-16").quantizes_activations


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2-2",
        "2-2-8-8",
        "3-2-8",
        "2-3-8",
        "2-2-4",
        "2-2-8/column",
        "2-2-8/",
        "-2-2-8",
        "2 2 8",
        "２-２-８",
        "9" * 5000 + "-2-8",
    ],
)
def test_no_scheme(text: str) -> None:
    with pytest.raises(NotationError, match="is not a scheme: write W-E-A like 2-2-8"):
        Scheme.parse(text)


@pytest.mark.parametrize("text", ["", "6", "6-3-1", "0-1", "1-0", "-6-3", "6x3", "6-" + "9" * 5000])
def test_no_layer_pair(text: str) -> None:
    with pytest.raises(NotationError, match="is not a layer pair: write E-D like 6-3"):
        Layers.parse(text)


@given(st.text())
def test_any_text_is_a_scheme_or_a_notation_error(text: str) -> None:
    for kind in (Scheme, Layers):
        try:
            parsed = kind.parse(text)
        except NotationError:
            continue
        assert kind.parse(str(parsed)) == parsed
