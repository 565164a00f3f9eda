r"""What is measured by nearest neighbours: precision, recall, density, coverage, and authenticity.

The ball of a sample reaches to its k-th nearest neighbour in its own set. Precision is the fraction of fakes in any
real ball, recall that of real samples in any fake's ball (Kynkäänniemi et al. 2019, eq. 2); density is the mean number
of real balls that hold a fake, over k, and coverage the fraction of real balls that hold one (Naeem et al. 2020, eq. 4
and 5). All four depend on the sizes of both sets, so only values at equal sizes compare. *Class-wise* they are averages
over classes of those within a class (Chao et al. 2022, table 2).

A sample is *authentic* if it lies farther from its nearest training sample than that one lies from its own nearest
other one (Alaa et al. 2022, "How faithful is your synthetic data?"): about half of new real samples are, no copies.

Squared distances come from a float64 matrix product about a common centre, :math:`|a|^2 + |b|^2 - 2 a \cdot b`, which
is wrong by at most :math:`u ( 2 (F + 2) |a| |b| + 3 (|a| + |b|)^2 )` (Higham 2002, "Accuracy and Stability of Numerical
Algorithms", section 3.1; u is the unit roundoff). What is smaller counts as zero, so that copies are copies, and a ball
does not hold a sample that it just reaches.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

_HELD = 2**23  # distances held at a time: 64 MB


def squared_distances(a: Tensor, b: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Rows of a, their squared distances to all of b (A, M) float64, and a bound on the errors (A, 1)."""
    centre = b.double().mean(0)
    b = b.double() - centre
    squares = b.square().sum(1)
    largest = squares.max().sqrt()
    step = max(1, _HELD // max(b.shape))
    for start in range(0, len(a), step):
        rows = slice(start, start + step)
        part = a[rows].double() - centre
        own = part.square().sum(1, keepdim=True)
        squared = torch.addmm(squares[None], part, b.T, alpha=-2).add_(own)
        norms = own.sqrt()
        products = 2 * (b.shape[1] + 2) * norms * largest
        bound = torch.finfo(b.dtype).eps / 2 * (products + 3 * (norms + largest).square())
        yield rows, squared.where(squared > bound, 0.0), bound


def nearest(queries: Tensor, among: Tensor, k: int, *, others: bool = False) -> tuple[Tensor, Tensor]:
    """Rising distances of each query (N, F) to its k nearest in a set (M, F), or `others` in its own, and indices."""
    distances, indices = [], []
    for rows, squared, _ in squared_distances(queries, among):
        if others:
            squared[:, rows].fill_diagonal_(torch.inf)
        found = squared.topk(k, largest=False)
        distances.append(found.values.sqrt())
        indices.append(found.indices)
    return torch.cat(distances), torch.cat(indices)


def nearest_radii(features: Tensor, k: int) -> Tensor:
    """Distance of every sample to the k-th nearest other one, of which there are as many: (N,) float64."""
    return nearest(features, features, k, others=True)[0][:, -1]


class Manifold(NamedTuple):
    """Contributions of single samples, float64; the mean of each tensor is the metric of that name."""

    precision: Tensor  # (N_fake,), each 0 or 1
    recall: Tensor  # (N_real,), each 0 or 1
    density: Tensor  # (N_fake,), each a multiple of 1/k
    coverage: Tensor  # (N_real,), each 0 or 1


def prdc(real: Tensor, fake: Tensor, k: int, real_radii: Tensor | None = None) -> Manifold:
    """Precision, recall, density and coverage of fakes (N_fake, F); both sets have more than k samples."""
    real_radii = nearest_radii(real, k) if real_radii is None else real_radii
    fake_radii = nearest_radii(fake, k)
    density = torch.empty(len(fake), dtype=torch.float64)
    recall, coverage = (torch.zeros(len(real), dtype=torch.bool) for _ in range(2))
    for rows, squared, bound in squared_distances(fake, real):
        distance = squared + bound
        in_real = distance < real_radii.double().square()
        density[rows] = in_real.sum(1).double() / k
        coverage |= in_real.any(0)
        recall |= (distance < fake_radii[rows, None].square()).any(0)
    return Manifold((density > 0).double(), recall.double(), density, coverage.double())


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
    """The k training samples (M, F), or all, that are nearest to each sample (N, F); there are 2 at least."""
    distances, indices = nearest(samples, train, min(k, len(train)))
    touched, place = indices[:, 0].unique(return_inverse=True)
    own, _ = nearest(train[touched], train, 2)  # itself, and the nearest other one: the greater, also of copies
    return Memory(distances, indices, own[:, 1][place])
