import torch

from compress.training.group import Alone
from compress.training.loss_means import LossMeans


def test_each_loss_is_a_mean_over_the_batches_that_have_it() -> None:
    means = LossMeans(["total", "task", "own", "never"], Alone(), torch.device("cpu"))
    means.add({"total": torch.tensor(1.0), "task": torch.tensor(4.0)}, tokens=10)
    means.add({"total": torch.tensor(3.0), "own": torch.tensor(5.0)}, tokens=7)
    assert means.take() == ({"total": 2.0, "task": 4.0, "own": 5.0}, 17)
    means.add({"own": torch.tensor(1.0)}, tokens=1)
    assert means.take() == ({"own": 1.0}, 1)
