import itertools

import pytest
import torch
from torch import Tensor

from compress.calibration.solver import solve
from compress.model.straight_through import SMALLEST_SCALE
from quant.numerics import Quantized, dequantize, quantize, round_to_half
from quant.scheme import Granularity

BITS = (2, 4, 8)


def lost(target: Tensor, moment: Tensor, quantized: Quantized) -> Tensor:
    missing = (target - dequantize(quantized)).double()
    return ((missing @ moment.double()) * missing).sum(1)


def moment_of(columns: int, tokens: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(tokens, columns, generator=generator) @ torch.randn(columns, columns, generator=generator)
    return mixed.T @ mixed / tokens


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("granularity", ["row", "matrix"])
@pytest.mark.parametrize(("rows", "columns", "tokens"), [(5, 7, 100), (40, 96, 400), (130, 65, 20)])
def test_never_worse_than_rounding_to_the_nearest(
    bits: int, granularity: Granularity, rows: int, columns: int, tokens: int
) -> None:
    torch.manual_seed(rows)
    target = torch.randn(rows, columns) * (0.1 + torch.rand(rows, 1))
    moment = moment_of(columns, tokens, seed=1)
    moment += 0.01 * moment.diagonal().mean() * torch.eye(columns)
    solved = solve(target, moment, bits, granularity)
    ours, nearest = lost(target, moment, solved), lost(target, moment, quantize(target, bits, granularity, torch.inf))
    if granularity == "matrix":
        ours, nearest = ours.sum(), nearest.sum()
    assert bool((ours <= nearest * 1.001).all())
    assert float(ours.sum()) < 0.9 * float(nearest.sum())


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("granularity", ["row", "matrix"])
def test_codes_and_scales_are_those_that_are_stored(bits: int, granularity: Granularity) -> None:
    target = torch.randn(20, 30)
    target[3] = 0.0
    solved = solve(target, moment_of(30, 90, seed=2), bits, granularity)
    assert solved.codes.dtype == torch.int8
    assert int(solved.codes.abs().max()) <= 2 ** (bits - 1) - 1
    assert tuple(solved.scale.shape) == ((20, 1) if granularity == "row" else (1, 1))
    assert torch.equal(round_to_half(solved.scale), solved.scale)
    assert float(solved.scale.min()) >= SMALLEST_SCALE
    assert bool((solved.codes[3] == 0).all())


def test_small_matrices_are_solved_nearly_as_trying_all_codes_solves_them() -> None:
    torch.manual_seed(0)
    target, moment = torch.randn(60, 4), moment_of(4, 20, seed=5)
    solved = solve(target, moment, 2)
    ours, nearest = lost(target, moment, solved), lost(target, moment, quantize(target, 2, "row"))
    best = torch.tensor([least(row, moment) for row in target.split(1)])
    assert bool((ours >= best * 0.999 - 1e-6).all())
    assert float((ours <= best * 1.001 + 1e-6).float().mean()) >= 0.6
    assert float(ours.sum() - best.sum()) < 0.2 * float(nearest.sum() - best.sum())


def test_what_one_weight_loses_another_that_goes_with_it_makes_good() -> None:
    # x2 is x1: only the sum of the two weights counts. Rounded at scale 1, each would be 0; 1 and 0 lose a tenth of that.
    target, moment = torch.tensor([[0.45, 0.45, 1.0]]), torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    solved = solve(target, moment, 2)
    assert sorted(solved.codes[0, :2].tolist()) == [0, 1]
    assert int(solved.codes[0, 2]) == 1
    assert float(solved.scale) == pytest.approx(0.95, abs=1e-3)  # between 0.9, the sum, and 1


def least(target: Tensor, moment: Tensor) -> float:
    """What is lost with the best of all codes of 2 bits, each at its best scale."""
    every = (torch.tensor([choice], dtype=torch.int8) for choice in itertools.product((-1, 0, 1), repeat=target.shape[1]))
    return min(float(lost(target, moment, Quantized(codes, _best_scale(target, moment, codes.float())))) for codes in every)


def _best_scale(target: Tensor, moment: Tensor, codes: Tensor) -> Tensor:
    own = float((codes @ moment * codes).sum())
    return torch.tensor([[max(0.0, float((codes @ moment * target).sum()) / own) if own else 0.0]])


def test_inputs_that_say_nothing_of_some_columns_still_give_codes() -> None:
    target, moment = torch.randn(6, 10), torch.zeros(10, 10)
    moment[0, 0] = 2.0
    solved = solve(target, moment, 4)
    assert bool(torch.isfinite(solved.scale).all())
    assert float(lost(target, moment, solved).max()) < 1e-2


def test_rows_do_not_depend_on_each_other() -> None:
    target, moment = torch.randn(50, 40), moment_of(40, 100, seed=3)
    whole, part = solve(target, moment, 2), solve(target[10:30], moment, 2)
    same = (whole.codes[10:30] == part.codes).float().mean()
    assert float(same) > 0.98  # products of other shapes differ in the last bits, which may turn a code


def test_the_same_matrix_has_the_same_codes() -> None:
    target, moment = torch.randn(30, 40), moment_of(40, 100, seed=4)
    first, second = solve(target, moment, 2), solve(target, moment, 2)
    assert torch.equal(first.codes, second.codes)
    assert torch.equal(first.scale, second.scale)


def test_other_bits_are_refused() -> None:
    with pytest.raises(ValueError, match="bits is 3: 2, 4 and 8 are accepted"):
        solve(torch.randn(2, 3), torch.eye(3), 3)
