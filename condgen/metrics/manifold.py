r"""Precision, recall, density and coverage: how two sets of features overlap as unions of balls.

Around each sample lies a ball that reaches to its k-th nearest neighbour in its own set. Of the fakes,

* precision (Kynkäänniemi et al. 2019, eq. 2): inside any ball of a real sample;
* density (Naeem et al. 2020, eq. 4): the number of real balls that hold it, over k; its mean may exceed one.

Of the real samples,

* recall (Kynkäänniemi et al. 2019, eq. 2): inside any ball of a fake;
* coverage (Naeem et al. 2020, eq. 5): its own ball holds a fake.

All four depend on the sizes of both sets, so only values at equal sizes compare. *Class-wise*, they are those of the
fakes of a class against the real samples of that class alone, averaged over the classes (Chao et al. 2022, table 2):
fakes of the wrong class, however fine, then count as bad.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from condgen.metrics.neighbours import nearest, pairs_within


class Manifold(NamedTuple):
    """Contributions of single samples, float64; the mean of each tensor is the metric of that name."""

    precision: Tensor  # (N_fake,), each 0 or 1
    recall: Tensor  # (N_real,), each 0 or 1
    density: Tensor  # (N_fake,), each a multiple of 1/k
    coverage: Tensor  # (N_real,), each 0 or 1


def nearest_radii(features: Tensor, k: int = 5) -> Tensor:
    """Distance of every sample to the k-th nearest other one: (N,) float64.

    Raises:
        ValueError: there are no k other samples.
    """
    return nearest(features, features, k, others=True).distances[:, -1]


def prdc(real: Tensor, fake: Tensor, k: int = 5, real_radii: Tensor | None = None) -> Manifold:
    """Precision, recall, density and coverage of fakes, in memory linear in the numbers of samples.

    Args:
        real: features, (N_real, F).
        fake: features, (N_fake, F).
        k: the neighbour that sets the radius of a ball.
        real_radii: `nearest_radii(real, k)`, where it is at hand from an earlier call.

    Raises:
        ValueError: either set has no more than k samples.
    """
    real_radii = nearest_radii(real, k) if real_radii is None else real_radii
    fake_radii = nearest_radii(fake, k)
    density = torch.empty(len(fake), dtype=torch.float64)
    recall, coverage = (torch.zeros(len(real), dtype=torch.bool) for _ in range(2))
    for rows, in_fake, in_real in pairs_within(fake, real, fake_radii, real_radii):
        density[rows] = in_real.sum(1).double() / k
        coverage |= in_real.any(0)
        recall |= in_fake.any(0)
    return Manifold((density > 0).double(), recall.double(), density, coverage.double())
