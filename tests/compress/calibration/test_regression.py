import pytest
import torch

from compress.calibration.regression import RIDGE, Moments


def test_an_exact_relation_is_found_with_its_constant() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(200, 6) + 3.0
    weight, bias = torch.randn(4, 6), torch.randn(4)
    moments = Moments(6, [4], inputs.device, centred=True)
    for part in inputs.split(64):
        moments.add(part, [part @ weight.T + bias])
    (regression,) = moments.regressions()
    target = regression.target(weight)
    torch.testing.assert_close(target, weight, rtol=0, atol=1e-4)
    torch.testing.assert_close(regression.bias(target), bias, rtol=0, atol=1e-3)


def test_the_solution_is_that_of_ridge_regression_towards_the_weights() -> None:
    torch.manual_seed(1)
    inputs, outputs, weight = torch.randn(50, 3).double(), torch.randn(50, 2).double(), torch.randn(2, 3).double()
    moments = Moments(3, [2], inputs.device, centred=True)
    moments.add(inputs.float(), [outputs.float()])
    (regression,) = moments.regressions()
    x, y = inputs - inputs.mean(0), outputs - outputs.mean(0)
    ridge = RIDGE * float(x.square().mean())
    # The same, written as least squares with rows added: sqrt(ridge n) (W' - W) is to be small.
    rows = torch.cat([x, (50 * ridge) ** 0.5 * torch.eye(3).double()])
    wanted = torch.cat([y, (50 * ridge) ** 0.5 * weight.T])
    expected = torch.linalg.lstsq(rows, wanted).solution.T
    torch.testing.assert_close(regression.target(weight.float()).double(), expected, rtol=1e-4, atol=1e-4)


def test_layers_without_a_bias_are_fitted_as_they_are() -> None:
    inputs = torch.tensor([[1.0], [3.0]])
    moments = Moments(1, [1], inputs.device, centred=False)
    moments.add(inputs, [2 * inputs + 1])
    (regression,) = moments.regressions()
    # sum xy / sum x^2 = (3 + 21) / 10, and the ridge a share of the mean square, 5, towards 2.4.
    assert float(regression.target(torch.tensor([[2.4]]))) == pytest.approx(2.4)
    assert float(regression.moment) == pytest.approx(5 * (1 + RIDGE))


def test_layers_of_one_input_share_its_moment() -> None:
    moments = Moments(2, [3, 1], torch.device("cpu"), centred=True)
    moments.add(torch.randn(9, 2), [torch.randn(9, 3), torch.randn(9, 1)])
    first, second = moments.regressions()
    assert first.moment is second.moment
    assert tuple(second.target(torch.zeros(1, 2)).shape) == (1, 2)


def test_inputs_that_never_change_leave_the_weights_and_move_the_bias() -> None:
    """What rounding makes of their variance is no direction to fit in."""
    inputs = torch.full((7, 40), 1 / 3) * torch.linspace(0.1, 3, 40)
    weight = torch.ones(2, 40) / 40
    moments = Moments(40, [2], inputs.device, centred=True)
    for part in inputs.split(3):
        moments.add(part, [part @ weight.T + 5.0])
    (regression,) = moments.regressions()
    target = regression.target(weight)
    torch.testing.assert_close(target, weight, rtol=0, atol=0.02)
    torch.testing.assert_close(inputs @ target.T + regression.bias(target), inputs @ weight.T + 5.0, rtol=1e-4, atol=1e-2)
