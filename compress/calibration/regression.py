"""What a linear layer should be, by least squares, given its inputs in the student and what the teacher has in its place.

For inputs x and wanted outputs y, both centred where the layer has a bias, and the weights W that the layer has now:

    H = Cov(x) + ridge I        W* = (Cov(y, x) + ridge W) H^-1        b = mean(y) - W' mean(x)

where W' is what W* became. The ridge keeps what the texts say nothing of where it was.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

RIDGE = 0.03
"""Of the mean variance of the inputs."""
_ROUNDING = 1e-6
"""Of the mean square of the inputs: what rounding in float32 products may make of a variance of 0."""


class Moments:
    """Sums over tokens, in float64, of inputs [columns] and of the outputs of several layers that share them."""

    def __init__(self, columns: int, rows: Sequence[int], device: torch.device, centred: bool) -> None:
        """`centred` where the layers have a bias.

        Then sums are of what lies around the mean of the first tokens, so that what float32 products round is small beside
        the variance even where the mean is large.
        """
        self.count = 0
        self._centred = centred
        self._origin: tuple[Tensor, list[Tensor]] | None = None
        self._x = _zeros(columns, device=device)
        self._xx = _zeros(columns, columns, device=device)
        self._y = [_zeros(each, device=device) for each in rows]
        self._yx = [_zeros(each, columns, device=device) for each in rows]

    def add(self, inputs: Tensor, outputs: Sequence[Tensor]) -> None:
        """Float32 [tokens, columns] and, of each layer, [tokens, rows]."""
        if self._centred:
            if self._origin is None:
                self._origin = inputs.mean(0), [output.mean(0) for output in outputs]
            of_inputs, of_outputs = self._origin
            inputs = inputs - of_inputs
            outputs = [output - origin for output, origin in zip(outputs, of_outputs, strict=True)]
        self.count += len(inputs)
        self._x += inputs.sum(0, dtype=torch.float64)
        self._xx += inputs.T @ inputs
        for index, output in enumerate(outputs):
            self._y[index] += output.sum(0, dtype=torch.float64)
            self._yx[index] += output.T @ inputs

    def regressions(self) -> list[Regression]:
        """One for each layer; all have one `moment`."""
        mean = self._x / self.count if self._centred else torch.zeros_like(self._x)
        squares = self._xx / self.count
        least = max(_ROUNDING * float(squares.diagonal().mean()), 1e-12)
        covariance = squares.addr_(mean, mean, alpha=-1)
        ridge = RIDGE * max(float(covariance.diagonal().mean()), 0.0) + least
        covariance.diagonal().add_(ridge)
        factor = torch.linalg.cholesky(covariance)
        moment = covariance.float()
        regressions = []
        of_inputs, of_outputs = self._origin or (torch.zeros_like(self._x), [torch.zeros_like(y) for y in self._y])
        for y, yx, origin in zip(self._y, self._yx, of_outputs, strict=True):
            wanted = y / self.count if self._centred else torch.zeros_like(y)
            cross = (yx / self.count).addr_(wanted, mean, alpha=-1)
            regressions.append(Regression(moment, factor, mean + of_inputs, wanted + origin, cross, ridge))
        return regressions


class Regression:
    """The regression of one layer's outputs on its inputs."""

    def __init__(self, moment: Tensor, factor: Tensor, mean: Tensor, wanted: Tensor, cross: Tensor, ridge: float) -> None:
        """`moment` is H, float32 [columns, columns], and `factor` its Cholesky factor in float64."""
        self.moment = moment
        self._factor = factor
        self._mean = mean
        self._wanted = wanted
        self._cross = cross
        self._ridge = ridge

    def target(self, weight: Tensor) -> Tensor:
        """W*, float32 [rows, columns]; `weight` is W."""
        sums = torch.add(self._cross, weight.double(), alpha=self._ridge)
        return torch.cholesky_solve(sums.T, self._factor).T.float().contiguous()

    def bias(self, weight: Tensor) -> Tensor:
        """Float32 [rows], for what the weights became."""
        return (self._wanted - weight.double() @ self._mean).float()


def _zeros(*shape: int, device: torch.device) -> Tensor:
    return torch.zeros(*shape, dtype=torch.float64, device=device)
