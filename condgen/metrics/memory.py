r"""Whether samples repeat what was trained on.

A sample is *authentic* if it lies farther from its nearest training sample than that one lies from its own nearest
other one (Alaa et al. 2022, "How faithful is your synthetic data?"). Among new real samples about half are, among
copies of the training data none. So the fraction is to be held against that of held-out samples, and it is below that
floor where a model remembers.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from condgen.metrics.neighbours import nearest


class Memory(NamedTuple):
    """The training samples that are nearest to each of N samples."""

    distances: Tensor  # (N, k) float64, rising
    indices: Tensor  # (N, k) int64, of training samples
    elsewhere: Tensor  # (N,) float64, the distance of the nearest of them to its own nearest other training sample

    @property
    def authentic(self) -> Tensor:
        """(N,) float64, each 0 or 1."""
        return (self.distances[:, 0] > self.elsewhere).double()

    def closest(self, count: int) -> Tensor:
        """The places of the samples that come closest, in units of `elsewhere`."""
        nearest = self.distances[:, 0]
        beyond = torch.where(nearest > 0, torch.inf, 0.0)  # where the training set holds a copy of what is near
        ratio = torch.where(self.elsewhere > 0, nearest / self.elsewhere, beyond)
        return ratio.argsort(stable=True)[:count]


def memory(train: Tensor, samples: Tensor, k: int = 3) -> Memory:
    """The nearest training samples of each sample.

    Args:
        train: features, (M, F), of 2 samples at least.
        samples: features, (N, F).
        k: how many; fewer where there are not as many training samples.
    """
    found = nearest(samples, train, min(k, len(train)))
    touched, place = found.indices[:, 0].unique(return_inverse=True)
    own = nearest(train[touched], train, 2)  # itself, and the nearest other one: the greater distance, also of copies
    return Memory(found.distances, found.indices, own.distances[:, 1][place])
